"""Human tasks as a type checker sees them."""

from dataclasses import dataclass
from typing import Any, assert_type

from perdure import Client, Engine, activity, task, workflow
from perdure.calls import Lazy
from perdure.client.answer import Answer
from perdure.client.human_view import TaskDetails, TaskSummary
from perdure.tasks import HumanTask, TaskNotice, TaskOutcome


@dataclass
class Decision:
    approved: bool


@activity
async def tell(notice: TaskNotice) -> None: ...


@workflow
async def loan() -> bool:
    assert_type(task("Approve", form=Decision), HumanTask[Decision])
    assert_type(await task("Approve", form=Decision, assignees=["ann"], due="2 days", notify=tell), Decision)
    assert_type(await task("Ship it"), None)
    assert_type(await task("Choose", form=bool | None), Any)
    assert_type(task("Approve", form=Decision).with_actor(), Lazy[TaskOutcome[Decision]])
    outcome = await task("Approve", form=Decision).with_actor()
    assert_type(outcome, TaskOutcome[Decision])
    assert_type(outcome.by, str)
    return outcome.value.approved


async def answered(engine: Engine, client: Client) -> None:
    assert_type(await engine.tasks.list(assignee="ann", overdue=True), list[TaskSummary])
    assert_type(client.tasks.get("loan-1").wait(), TaskDetails)
    assert_type(engine.tasks.claim("loan-1", by="ann"), Answer[None])
    await engine.tasks.complete("loan-1", Decision(True), by="ann", groups=["credit"], request_id="form-1")
    await engine.tasks.release("loan-1", by="ann", force=True)
