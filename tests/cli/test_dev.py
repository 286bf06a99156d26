"""`perdure dev` in a process of its own: the engine follows the code, and nothing that the code does ends the dashboard."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import PATIENCE_S, PERDURE, Place, wait_for

CODE = """
    from pathlib import Path

    from perdure import activity, workflow


    @activity
    def say(word: str) -> str:
        return word + "{ending}"


    @workflow
    async def talk(word: str) -> str:
        return await say(word)
"""


class Dev:
    """The command while it runs, and what it has said so far."""

    def __init__(self, place: Place, *options: str) -> None:
        self.place = place
        self.said_in = place.folder / "said"
        with self.said_in.open("w") as said:
            self.process = subprocess.Popen(
                [*PERDURE, "dev", "talks.py", "--port", "0", *options], cwd=place.folder, env=place.env,
                stdout=subprocess.DEVNULL, stderr=said, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        place.started.append(self.process)  # type: ignore[arg-type]

    @property
    def said(self) -> str:
        return self.said_in.read_text()

    def hears(self, pattern: str, times: int = 1) -> None:
        """Wait until something was said so often."""
        wait_for(lambda: len(re.findall(pattern, self.said)) >= times, f"{pattern!r} ×{times}, but: {self.said}")

    def get(self, path: str) -> Any:
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)", self.said)[1])  # type: ignore[index]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        try:
            connection.request("GET", path)
            body = connection.getresponse().read()
        finally:
            connection.close()
        return json.loads(body)

    def engine(self) -> int:
        """The number of the engine's process that was started last."""
        return int(re.findall(r"process (\d+)", self.said)[-1])

    def ends(self, by: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(by)
        return self.process.wait(PATIENCE_S)


def write(place: Place, ending: str = "!", code: str = CODE) -> None:
    """Write the module, so that its time differs from before."""
    (place.folder / "talks.py").write_text(textwrap.dedent(code).replace("{ending}", ending))


@pytest.fixture
def dev(place: Place) -> Iterator[Callable[..., Dev]]:
    started: list[Dev] = []

    def start(*options: str) -> Dev:
        started.append(Dev(place, *options))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.ends(signal.SIGTERM)


def test_it_makes_the_database_runs_what_is_started_and_shows_it(place: Place, dev: Callable[..., Dev]) -> None:
    write(place)
    running = dev()
    running.hears("1 workflow, 1 activity")

    place.perdure("start", "talk", "--id", "t-1", "--arg", "word=hello")
    result = place.perdure("result", "t-1")

    assert json.loads(result.stdout) == "hello!"
    running.hears(r'✓ t-1  talk  completed  "hello!"')
    (run,) = running.get("/runs.json")["runs"]
    assert (run["id"], run["status"]) == ("t-1", "completed")


def test_ctrl_c_ends_everything_and_says_so(place: Place, dev: Callable[..., Dev]) -> None:
    write(place)
    running = dev()
    running.hears("1 workflow")
    engine = running.engine()

    code = running.ends()

    assert code == 0
    assert "stopped; what is done is kept" in running.said
    with pytest.raises(ProcessLookupError):
        os.kill(engine, 0)


def test_changed_code_is_run_without_being_asked(place: Place, dev: Callable[..., Dev]) -> None:
    write(place, "!")
    running = dev()
    running.hears("1 workflow")

    write(place, "?")
    running.hears("talks.py changed")
    running.hears("1 workflow", 2)
    place.perdure("start", "talk", "--id", "t-1", "--arg", "word=hello")

    assert json.loads(place.perdure("result", "t-1").stdout) == "hello?"


def test_a_file_that_the_module_imports_is_watched_too(place: Place, dev: Callable[..., Dev]) -> None:
    (place.folder / "endings.py").write_text('ENDING = "."\n')
    write(
        place,
        code=CODE.replace('"{ending}"', "ENDING").replace(
            "from pathlib", "from endings import ENDING\n    from pathlib"
        ),
    )
    running = dev()
    running.hears("watching 2 files")

    (place.folder / "endings.py").write_text('ENDING = ";"\n')

    running.hears("endings.py changed")
    running.hears("1 workflow", 2)


def test_code_that_cannot_be_imported_is_told_and_waited_for(place: Place, dev: Callable[..., Dev]) -> None:
    write(place, code="import nowhere_at_all\n")
    running = dev()
    running.hears("importing talks failed: ModuleNotFoundError: No module named 'nowhere_at_all'")
    running.hears("waiting for a change")

    write(place)

    running.hears("1 workflow, 1 activity")


def test_a_mistake_made_meanwhile_is_told_with_its_place_and_the_dashboard_stays(
    place: Place, dev: Callable[..., Dev]
) -> None:
    write(place)
    running = dev()
    running.hears("1 workflow")

    write(place, code="def broken(:\n")
    running.hears("importing talks failed: SyntaxError")
    shown = running.get("/runs.json")
    write(place)

    running.hears("1 workflow", 2)
    assert 'talks.py", line 1' in running.said
    assert shown["count"] == 0


def test_a_run_that_a_bug_has_blocked_goes_on_with_mended_code(place: Place, dev: Callable[..., Dev]) -> None:
    write(place, code=CODE.replace("return await say(word)", "return await sey(word)"))
    running = dev()
    running.hears("1 workflow")
    place.perdure("start", "talk", "--id", "t-1", "--arg", "word=hello")
    running.hears("t-1  talk  blocked")

    write(place)

    running.hears("t-1  talk  completed")


def test_the_death_of_the_engine_is_reported(place: Place, dev: Callable[..., Dev]) -> None:
    write(place)
    running = dev()
    running.hears("1 workflow")

    os.kill(running.engine(), signal.SIGKILL)

    running.hears("the engine's process has ended: killed by SIGKILL")
    assert running.get("/runs.json")["count"] == 0
    write(place, "?")
    running.hears("1 workflow", 2)


def test_the_engine_does_not_outlive_its_parent(place: Place, dev: Callable[..., Dev]) -> None:
    write(place)
    running = dev()
    running.hears("1 workflow")
    engine = running.engine()

    running.ends(signal.SIGKILL)

    wait_for(lambda: not _is_there(engine), "the end of the engine")


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_without_reload_files_are_left_alone(place: Place, dev: Callable[..., Dev]) -> None:
    write(place)
    running = dev("--no-reload")
    running.hears("1 workflow")

    write(place, "?")
    place.perdure("start", "talk", "--id", "t-1", "--arg", "word=hello")

    assert json.loads(place.perdure("result", "t-1").stdout) == "hello!"
    assert "watching" not in running.said


def test_beside_another_engine_it_stands_by(place: Place, dev: Callable[..., Dev]) -> None:
    write(place)
    place.engine()
    running = dev()

    running.hears("another engine holds this database; this one stands by")


def test_a_port_that_is_taken_is_told_with_another_one(place: Place) -> None:
    write(place)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = place.perdure("dev", "talks.py", "--port", str(port))

    assert done.returncode == 5
    assert f"port {port} of 127.0.0.1 is in use" in done.stderr
    assert f"--port {port + 1}" in done.stderr


def test_other_machines_are_let_in_only_by_whoever_says_so(place: Place) -> None:
    write(place)

    done = place.perdure("dev", "talks.py", "--host", "0.0.0.0")

    assert done.returncode == 7
    assert "would open the dashboard to other machines" in done.stderr
    assert "--expose" in done.stderr


def test_what_is_exposed_is_said_to_be(place: Place, dev: Callable[..., Dev]) -> None:
    write(place)
    running = dev("--host", "0.0.0.0", "--expose")

    running.hears("the dashboard asks for no password")


def test_without_the_extra_one_line_says_what_to_install(place: Place) -> None:
    write(place)
    program = (
        "import sys; sys.modules['starlette'] = None; sys.modules['watchfiles'] = None\n"
        "import importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name in ('starlette', 'watchfiles') else found(name, *more)\n"
        "sys.argv = ['perdure', 'dev', 'talks.py']; from perdure.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=place.folder, env=place.env, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "perdure dev needs packages that are not installed: starlette, watchfiles" in done.stderr
    assert 'pip install "perdure[server]"' in done.stderr
    assert not (place.folder / "runs.db").exists()


def test_of_a_failed_import_only_the_users_own_lines_are_told(place: Place, dev: Callable[..., Dev]) -> None:
    write(place, code=CODE.replace("@activity", '@activity(heartbeet="5s")'))
    running = dev()
    running.hears("did you mean heartbeat")
    running.hears("waiting for a change")

    assert 'talks.py", line 7' in running.said
    assert "importlib" not in running.said
    assert "perdure/activities.py" not in running.said
