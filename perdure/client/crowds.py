"""Which steps of a run are shown as one row: crowds of the same name, side by side or one after the other. Pure.

More than 8 steps of the same name that overlap become one row with their number and an area of concurrency; more
than 20 one after the other become one row of blocks.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from perdure.client.description import StepView

SIBLINGS = 8
SEQUENCE = 20


class Row(NamedTuple):
    """One line of the timeline before it is laid out."""

    steps: list[StepView]
    form: str
    """"step", "area" or "blocks"."""

    @property
    def first(self) -> StepView:
        return self.steps[0]


def grouped(steps: Sequence[StepView]) -> list[Row]:
    """Rows in order of their first step; crowds of one name in one row."""
    by_name: dict[tuple[str, str, bool], list[StepView]] = {}
    for step in steps:
        by_name.setdefault((step.kind, step.name, step.compensation), []).append(step)
    member: dict[str, Row] = {}
    for crowd in by_name.values():
        if len(crowd) > SIBLINGS:
            for row in _crowds(crowd):
                member.update(dict.fromkeys((step.id for step in row.steps), row))
    rows: list[Row] = []
    done: set[int] = set()
    for step in steps:
        row = member.get(step.id)
        if row is None:
            rows.append(Row([step], "step"))
        elif id(row) not in done:
            done.add(id(row))
            rows.append(row)
    return rows


def _crowds(crowd: list[StepView]) -> list[Row]:
    """Clusters of overlapping steps, and what is left if it is a long sequence."""
    rows: list[Row] = []
    rest: list[StepView] = []
    for cluster in _clusters(sorted(crowd, key=_scheduled)):
        if len(cluster) > SIBLINGS:
            rows.append(Row(cluster, "area"))
        else:
            rest += cluster
    if len(rest) > SEQUENCE:
        rows.append(Row(rest, "blocks"))
    return rows


def _scheduled(step: StepView) -> datetime:
    return step.scheduled_at


def _clusters(crowd: list[StepView]) -> list[list[StepView]]:
    clusters: list[list[StepView]] = []
    reached: datetime | None = None
    is_open = False
    for step in crowd:
        if clusters and (is_open or (reached is not None and step.scheduled_at < reached)):
            clusters[-1].append(step)
        else:
            clusters.append([step])
            reached, is_open = None, False
        if step.ended_at is None:
            is_open = True
        elif reached is None or step.ended_at > reached:
            reached = step.ended_at
    return clusters


def row_state(row: Row) -> str:
    """The state that speaks for a row: what is open before what is done, what failed for all before what succeeded."""
    states = {step.state for step in row.steps}
    for state in ("held", "retrying", "running", "waiting", "scheduled"):
        if state in states:
            return state
    return "completed" if "completed" in states else row.first.state
