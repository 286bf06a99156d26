"""`perdure.testing.replay`: one line in a test suite."""

import asyncio
from pathlib import Path

import pytest

from perdure import Engine, activity, errors, workflow
from perdure.client.export import ExportedRun
from perdure.testing import replay


@activity
async def double(n: int) -> int:
    return 2 * n


@workflow
async def doubled(n: int) -> int:
    return await double(n)


@workflow(name="doubled")
async def doubled_later(n: int) -> int:
    await asyncio.sleep(1)
    return await double(n)


@pytest.fixture
def run() -> ExportedRun:
    with Engine("memory://", [doubled, double]) as engine:
        engine.run(doubled(2), id="a").wait()
        return engine.handle("a").export().wait()


@pytest.fixture
def folder(tmp_path: Path, run: ExportedRun) -> Path:
    """Histories in files, in a folder within, and several in one file."""
    (tmp_path / "a.json").write_bytes(run.to_json())
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "b.json").write_bytes(run.to_json())
    (tmp_path / "many.ndjson").write_bytes(b"\n".join([run.to_json(lines=False)] * 3) + b"\n\n")
    (tmp_path / "notes.txt").write_text("not a history")
    return tmp_path


def test_all_histories_of_a_folder_are_replayed(folder: Path) -> None:
    report = replay(folder, [doubled, double])

    assert [verdict.name.removeprefix(f"{folder}/") for verdict in report.verdicts] == [
        "a.json", "many.ndjson:1", "many.ndjson:2", "many.ndjson:3", "old/b.json",
    ]  # fmt: skip
    assert report.events == 20


def test_code_that_does_not_fit_raises_with_each_difference(folder: Path) -> None:
    with pytest.raises(errors.ReplayFailed) as raised:
        replay(str(folder), [doubled_later, double])

    assert len(raised.value.report.failed) == 5
    assert str(raised.value).splitlines()[:2] == [
        f"{folder}/a.json diverges after event 1",
        "    history:  activity double [0:1]    code:  timer [0:1]",
    ]
    assert str(raised.value).splitlines()[-1].startswith("0 of 5 histories replayed, 20 events")


def test_a_history_may_come_from_anywhere(run: ExportedRun, folder: Path) -> None:
    with Engine("memory://", [doubled, double]) as engine:
        engine.run(doubled(2), id="b").wait()
        sources = [run, run.to_json(), folder / "a.json", str(folder / "a.json"), engine.handle("b"), [run, [run]]]

        assert [len(replay(source, [doubled, double]).verdicts) for source in sources] == [1, 1, 1, 1, 1, 2]
        assert len(replay(sources, [doubled, double]).verdicts) == 7


def test_a_test_with_a_loop_awaits_the_export(run: ExportedRun) -> None:
    async def test() -> int:
        async with Engine("memory://", [doubled, double]) as engine:
            await engine.run(doubled(2), id="b")
            handle = engine.handle("b")
            with pytest.raises(RuntimeError, match=r"write: replay\(await handle.export\(\), ...\)"):
                replay(handle, [doubled, double])
            return len(replay(await handle.export(), [doubled, double]).verdicts)

    assert asyncio.run(test()) == 1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "there is no such file; export a run with: perdure export RUN -o"),
        (lambda path: path.mkdir(), "there are no exported runs in this folder"),
    ],
)
def test_nothing_to_replay_is_no_success(tmp_path: Path, make, said) -> None:
    make(tmp_path / "histories")

    with pytest.raises(errors.ExportUnreadable, match=said):
        replay(tmp_path / "histories", [doubled, double])


def test_an_empty_list_is_no_success() -> None:
    with pytest.raises(errors.ExportUnreadable, match="no history was given"):
        replay([], [doubled, double])


def test_one_bad_file_does_not_hide_the_others(folder: Path) -> None:
    (folder / "a.json").write_bytes((folder / "a.json").read_bytes()[:100])
    (folder / "package.json").write_text('{"name": "left-pad"}')

    with pytest.raises(errors.ReplayFailed) as raised:
        replay(folder, [doubled, double])

    assert [verdict.kind for verdict in raised.value.report.failed] == ["unreadable"] * 2
    assert "a.json cannot be replayed\n    is cut off after 100 bytes" in str(raised.value)
    assert len(raised.value.report.verdicts) == 6


def test_what_is_no_source_is_refused() -> None:
    with pytest.raises(TypeError, match="histories are a file, a folder, bytes, an ExportedRun, a handle"):
        replay(7, [doubled, double])


def test_definitions_that_make_no_sense_are_refused(run: ExportedRun) -> None:
    with pytest.raises(errors.DefinitionError):
        replay(run, [doubled, doubled_later])
