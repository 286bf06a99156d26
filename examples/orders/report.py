"""What the demo says at the end, on stdout."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console

from examples.orders.proof import Check, Figures

PROBLEMS_SHOWN = 10


class KillRecord(Protocol):
    with_standby: bool
    died_at: float
    recovery_seconds: float | None


@dataclass(frozen=True)
class Report:
    orders: int
    seconds: float
    kills: Sequence[KillRecord]
    checks: Sequence[Check]
    figures: Figures
    is_shared: bool = False
    """Whether several engines were at work: others than the one that was killed."""

    @property
    def is_good(self) -> bool:
        """Every claim holds, and every kill that was planned took place."""
        return not any(check.problems for check in self.checks) and all(kill.died_at for kill in self.kills)


def print_report(report: Report, database: str | None) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print("\n[bold]Proof[/], from the payment ledger and the shop's database")
    for check in report.checks:
        console.print(f"  [red]✗[/] not so: {check.claim}" if check.problems else f"  [green]✓[/] {check.claim}")
        for problem in check.problems[:PROBLEMS_SHOWN]:
            console.print(f"      {problem}", markup=False, style="red")
        if len(check.problems) > PROBLEMS_SHOWN:
            console.print(f"      and {len(check.problems) - PROBLEMS_SHOWN} more")
    missed = sum(not kill.died_at for kill in report.kills)
    if missed:
        console.print(f"  [red]✗[/] not so: the work was done before {missed} of {len(report.kills)} kills took place")
    console.print("\n[bold]Figures[/]")
    for name, value in _figures(report):
        console.print(f"  {name:<20}{value}", markup=False)
    if report.is_good and database is not None:
        console.print("\n[bold]Try next[/]")
        for command in _commands(report, database):
            console.print(f"  {command}", markup=False)


def _figures(report: Report) -> list[tuple[str, str]]:
    figures = report.figures
    killed = [kill for kill in report.kills if kill.died_at]
    standby = sum(kill.with_standby for kill in killed)
    with_standby, recoveries = "", f"others {_recoveries(report, True)}"
    if not report.is_shared:
        with_standby = f", {standby} of them with a standby"
        recoveries = f"standby {_recoveries(report, True)}; restart {_recoveries(report, False)}"
    return [
        ("orders", f"{report.orders} in {report.seconds:.1f} s, {report.orders / report.seconds:.0f} a second"),
        ("kills", f"{len(killed)} with SIGKILL{with_standby}; {figures.processes} engines worked"),
        ("went on after", recoveries),
        (
            "payment requests",
            f"{figures.payment_requests}: {figures.payments_failed} failed, {figures.payments_hung} hung,"
            f" {figures.payment_retries} were retries",
        ),
        (
            "absorbed",
            f"{figures.payments_absorbed} repeated payments by their idempotency keys,"
            f" {figures.shop_absorbed} of {figures.shop_calls} shop calls by their marks",
        ),
    ]


def _recoveries(report: Report, with_standby: bool) -> str:
    kills = [kill for kill in report.kills if kill.died_at and kill.with_standby is with_standby]
    times = [f"{kill.recovery_seconds:.2f} s" for kill in kills if kill.recovery_seconds is not None]
    return ", ".join(times) or "-"


def _commands(report: Report, database: str) -> list[str]:
    beside_python = Path(sys.executable).with_name("perdure")
    perdure = "perdure" if shutil.which("perdure") or not beside_python.exists() else os.path.relpath(beside_python)
    figures = report.figures
    commands = [
        (f"list --db {database} --limit 10", "the last orders"),
        (f"show order-{figures.most_tried_order} --db {database}", "the order that took the most tries to charge"),
        (f"show order-{figures.most_tried_order} --events --db {database}", "all that was recorded of it"),
    ]
    if figures.refunded_order is not None:
        commands.append((f"show order-{figures.refunded_order} --db {database}", "an order that was refunded"))
    width = max(len(command) for command, _ in commands)
    return [f"{perdure} {command:<{width}}   # {what}" for command, what in commands]
