"""The demo for real, only smaller; and the small examples."""

import os
import select
import subprocess
import sys
from pathlib import Path

from examples.orders.make_orders import make_file
from examples.orders.model import ORDERS_FILE, PRICES_CENTS, read_orders
from tests.postgres.present import demand_postgres

ROOT = Path(__file__).resolve().parents[2]


def python(*arguments: str, timeout: float = 600) -> "subprocess.CompletedProcess[str]":
    """Run a program of the repository to its end."""
    command = [sys.executable, *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout, check=False)


def processes_that_mention(text: str) -> list[str]:
    listing = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if text in line]


def test_the_orders_file_is_what_its_script_makes() -> None:
    assert ORDERS_FILE.read_text(encoding="utf-8") == make_file()


def test_the_orders_are_500_sound_ones_and_some_go_to_atlantis() -> None:
    orders = read_orders()

    assert [order.id for order in orders] == list(range(1, 501))
    assert all(o.amount_cents == sum(PRICES_CENTS[line.sku] * line.quantity for line in o.lines) for o in orders)
    assert 15 <= sum(order.country == "Atlantis" for order in orders) <= 35


def test_the_demo_kills_engines_and_proves_that_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    demo = python(
        "-m", "examples.orders.demo", "--orders", "60", "--kills", "2", "--limit", "600", "--dir", str(tmp_path)
    )

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "✓ 60 orders charged exactly once" in demo.stdout
    assert "✓ 60 runs, all completed" in demo.stdout
    assert "2 with SIGKILL, 1 of them with a standby; 3 engines worked" in demo.stdout
    assert "60/60 orders" in demo.stderr
    assert processes_that_mention(str(tmp_path)) == []


def test_engines_that_share_a_server_are_killed_one_after_the_other_and_so_is_the_server(tmp_path: Path) -> None:
    demand_postgres()

    demo = python(
        "-m", "examples.orders.demo", "--store", "postgres", "--orders", "60", "--kills", "1", "--limit", "600",
        "--dir", str(tmp_path),
    )  # fmt: skip

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "✓ 60 orders charged exactly once" in demo.stdout
    assert "✓ 60 runs, all completed" in demo.stdout
    assert "1 with SIGKILL; " in demo.stdout and "went on after       others " in demo.stdout
    assert "✗ PostgreSQL stopped at" in demo.stderr
    assert processes_that_mention(str(tmp_path)) == []


def test_no_process_outlives_a_demo_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.orders.demo", "--orders", "60", "--dir", str(tmp_path)]
    demo = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert demo.stderr is not None
    first_line = demo.stderr.readline()  # of the first kill, or of progress: the engine is at work
    demo.kill()
    demo.wait(600)
    demo.stderr.close()
    for line in processes_that_mention(str(tmp_path)):
        wait_until_gone(int(line.split()[0]))

    assert "orders" in first_line
    assert processes_that_mention(str(tmp_path)) == []


def wait_until_gone(pid: int) -> None:
    """Returns as soon as the process has ended, or after ten minutes."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    select.select([descriptor], [], [], 600)
    os.close(descriptor)


def test_the_quickstart_prints_its_result_and_repeats_nothing(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'orders.db'}"
    first = python("examples/quickstart.py", database)
    second = python("examples/quickstart.py", database)

    assert first.stdout.splitlines() == [
        "charging 10.00 to acct",
        "taking item out of stock",
        "Order successful. Txn: txn-4711",
    ], first.stderr
    assert second.stdout.splitlines() == ["Order successful. Txn: txn-4711"], second.stderr


def test_a_step_that_takes_too_long_is_cancelled_and_rolled_back(tmp_path: Path) -> None:
    done = python("examples/rollback.py", f"sqlite:///{tmp_path / 'rollback.db'}")

    *before, _, _, last = lines = done.stdout.splitlines()
    assert before == [
        "copying to eu-1, which takes 0.1 s",
        "copied 1000 customers",
        "copying to eu-2, which takes 60 s",
    ], done.stderr
    assert {"copying was cancelled", "dropping the half copy in eu-2"} <= set(lines), "in either order"
    assert last == "rolled back: copying took longer than 0.5 s"
