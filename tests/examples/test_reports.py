"""The report of the example, and the worker that is killed over it."""

import re
import subprocess
import sys
from pathlib import Path

from examples.reports.page import chart
from examples.reports.sales import read_sales, shop_name, write_sales
from perdure import Client

ROOT = Path(__file__).resolve().parents[2]


def test_the_report_is_whole_and_right_though_one_of_three_workers_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.reports", "--shops", "60", "--lines", "3000", "--dir", str(tmp_path)]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)

    assert made.stderr == ""
    assert made.stdout.startswith("60 sections in ")
    counts = [int(count) for count in re.findall(r"worker \d+: (\d+)", made.stdout)]
    assert sum(counts) == 60
    written = (tmp_path / "report.html").read_text(encoding="utf-8")
    for shop in range(60):
        assert chart(shop_name(shop), read_sales(tmp_path / f"shop-{shop:03}.csv")) in written
    assert written.count("<section>") == 60
    with Client(f"sqlite:///{tmp_path}/runs.db") as client:
        steps = client.handle("report-60").describe().wait().steps
        assert client.store.views.workers() == []
    assert [step.state for step in steps] == ["completed"] * 61
    assert all(len(step.attempts) <= 2 for step in steps), "an attempt is lost once at most: one worker was killed"


def test_a_shop_sells_the_same_whenever_it_is_asked(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_sales(tmp_path / name, 7, lines=100)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert sum(read_sales(tmp_path / "one")) > 0
