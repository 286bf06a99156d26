"""The human tasks of a database: who has what to do, and what people do with it. `engine.tasks`, `client.tasks`."""

import builtins
import re
import secrets
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from perdure import errors
from perdure.client.answer import Answer, Looked
from perdure.client.door import Door, looking, patience_of
from perdure.client.human_view import ENDS, Tale, TaskDetails, TaskSummary, summaries_of, summary_fields, tales
from perdure.client.moments import moment
from perdure.client.patience import NONE, Patience
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel import wire
from perdure.kernel.asking import closed_words
from perdure.kernel.human import is_person
from perdure.kernel.human_rows import HumanTaskRow, decode_body, row_of
from perdure.kernel.limits import TASK_PERSON_CHARS
from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.payload import ValueType
from perdure.payload.fitting import wrong_in
from perdure.payload.sealing import demand_size
from perdure.stores.base import Stored
from perdure.stores.health import told_as_damage
from perdure.stores.human import HumanFilter

R = TypeVar("R")

_STEP = re.compile(r"[^/]+:\d+")
SHOWN = 5


class Tasks:
    """What people are asked by runs. A task is named by the id of its run and its step, `loan-17/0:3`; the run alone will
    do if it has only one."""

    __slots__ = ("_max_bytes", "_opened")

    def __init__(self, opened: Callable[[], Door], payload_max_bytes: int) -> None:
        self._opened = opened
        self._max_bytes = payload_max_bytes

    def list(
        self,
        *,
        assignee: "str | Sequence[str] | None" = None,
        run: str | None = None,
        overdue: bool = False,
        limit: int = 100,
    ) -> "Answer[builtins.list[TaskSummary]]":
        """Open tasks, the oldest first: those that meet all conditions, at most `limit`.

        Args:
            assignee: a person or a group ("group:credit") it is for, or who has claimed it; of several any.
            run: the id of its run.
            overdue: only those whose due time has passed.
            limit: how many at most.

        Raises:
            errors.RunNotFound: there is no such run.
        """
        people = () if assignee is None else (assignee,) if isinstance(assignee, str) else tuple(assignee)
        for each in people:
            _demand_person("assignee", each)
        if not isinstance(limit, int) or limit < 1:
            raise errors.DefinitionError(f"limit is a whole number from 1 on, not {limit!r}")
        return self._looked("list", lambda: self._list(people, run, overdue, limit))

    def _list(self, people: tuple[str, ...], run: str | None, overdue: bool, limit: int) -> builtins.list[TaskSummary]:
        door = self._opened()
        views, now = door.store.views, door.now()
        key = None if run is None else self._newest(run).key
        rows = views.human.find(HumanFilter(people, key, now if overdue else None, limit))
        return summaries_of(rows, views.rows_by_key([row.run for row in rows]), now)

    def get(self, id: str, *, run_id: str | None = None) -> Answer[TaskDetails]:
        """A task with its form and its data, be it open or closed.

        Args:
            id: that of the task.
            run_id: the run's own number, if it may not be the newest run of its id.

        Raises:
            errors.TaskNotFound: there is none.
        """
        return self._looked("get", lambda: self._get(id, run_id))

    def _get(self, id: str, run_id: str | None) -> TaskDetails:
        door = self._opened()
        run, step = self._find(id, run_id)
        row = door.store.views.human.one(run.key, step)
        if row is not None:
            body = decode_body(row.body)
            return TaskDetails(
                **summary_fields(row, run, door.now()), form=body.form, data=_value(door, run, body.data)
            )
        tale = self._tale(run, step)
        view, end = tale.view(None), tale.end
        fields = summary_fields(row_of(run.key, tale.task), run, 0)
        fields |= {
            "state": "cancelled" if end is None else ENDS[type(end)],
            "overdue": view.overdue,
            "next_reminder_at": None,
        }
        closed_at = self._stored(run).run.closed_at if end is None else end.at
        return TaskDetails(
            **fields,
            form=tale.task.form,
            data=_value(door, run, tale.task.data),
            closed_at=None if closed_at is None else moment(closed_at),
            completed_by=view.completed_by,
            answer=_value(door, run, end.result) if isinstance(end, ev.TaskCompleted) else None,
            forced=view.forced,
        )

    def claim(
        self, id: str, *, by: str, groups: Sequence[str] = (), force: bool = False, run_id: str | None = None
    ) -> Answer[None]:
        """Take a task, so that nobody else completes it. Claimed by the same person already, it stays so.

        Args:
            id: that of the task.
            by: who takes it.
            groups: those that person belongs to: "credit" for tasks of "group:credit".
            force: whoever it is for, and whoever has it.
            run_id: as for `get`.

        Raises:
            errors.TaskClaimed: somebody else has it.
            errors.TaskNotAssigned: it is for others.
            errors.TaskClosed, errors.TaskNotFound: it is not there, or not any more.
            errors.RunBlocked: the run waits for mended code, and takes nothing but answers.
        """
        _demand_person("by", by)
        named = _groups(groups)
        return self._told("claim", id, run_id, lambda step: msg.ClaimTask(step, by, named, bool(force)))

    def release(self, id: str, *, by: str, force: bool = False, run_id: str | None = None) -> Answer[None]:
        """Give a task back. One that nobody has stays so.

        Raises:
            errors.TaskClaimed: somebody else has it, and it was not released by `force`.
            errors.TaskClosed, errors.TaskNotFound, errors.RunBlocked: as for `claim`.
        """
        _demand_person("by", by)
        return self._told("release", id, run_id, lambda step: msg.ReleaseTask(step, by, bool(force)))

    def _told(self, verb: str, id: str, run_id: str | None, message: Callable[[str], msg.Mail]) -> Answer[None]:
        def tell() -> None:
            run, step = self._find(id, run_id)
            self._open(run, step)
            if run.status in (Status.BLOCKED, Status.QUARANTINED):
                raise errors.RunBlocked(
                    f"run {run.id!r} is blocked ({run.note}), and its tasks can be completed only; "
                    f"when its code is mended:  perdure retry {run.id}",
                    run.id,
                )
            self._opened().tell(run, message(step))

        return self._looked(verb, tell)

    def complete(
        self,
        id: str,
        answer: Any = None,
        *,
        by: str,
        groups: Sequence[str] = (),
        force: bool = False,
        request_id: str | None = None,
        run_id: str | None = None,
    ) -> Answer[None]:
        """Give the answer: a value of the form's type, or its JSON form.

        Args:
            id: that of the task.
            answer: checked against the form before anything happens.
            by: who gives it.
            groups, force, run_id: as for `claim`.
            request_id: names the request: made again it does nothing, and is no error.

        Raises:
            errors.AnswerMisfit: it does not fit the form; the task stays open.
            errors.TaskClaimed, errors.TaskNotAssigned, errors.TaskClosed, errors.TaskNotFound: as for `claim`.
            errors.PayloadError: it has no JSON form, or is too large.
        """
        _demand_person("by", by)
        if request_id is not None:
            _demand_person("request_id", request_id)
        named = _groups(groups)
        data = _answers.encode(answer)
        demand_size(data, self._max_bytes, "the answer")
        request = request_id or secrets.token_hex(8)

        def complete() -> None:
            run, step = self._find(id, run_id)
            try:
                task = self._open(run, step)
                _demand_fit(task, data)
                message = msg.CompleteTask(step, by, self._coded(data), request, named, bool(force))
                self._opened().tell(run, message)
            except (errors.TaskClosed, errors.RunClosed):
                if not self._is_done(run, step, request):
                    raise

        return self._looked("complete", complete, patience_of(self._opened()))

    def _coded(self, data: bytes) -> ev.Payload:
        """As the codec stores it. Large bytes travel in the message; the owner sets them apart."""
        apart: dict[bytes, bytes] = {}
        payload = self._opened().coder.seal(data, apart.__setitem__, self._max_bytes, "the answer")
        return ev.Payload(apart[payload.data], payload.encoding) if payload.ref else payload

    def _looked(self, verb: str, look: Callable[[], R], patience: Patience = NONE) -> Answer[R]:
        def looked() -> R:
            door = self._opened()
            door.demand_open()
            return looking(door, look)

        return Looked(f"tasks.{verb}(...)", looked, patience)

    # finding

    def _newest(self, id: str) -> RunRow:
        row = self._opened().store.views.row(id)
        if row is None:
            raise errors.RunNotFound(f"there is no run {id!r} in {self._opened().store.address}")
        return row

    def _find(self, id: Any, run_id: str | None) -> tuple[RunRow, str]:
        """The run of a task, and its step."""
        door = self._opened()
        if not isinstance(id, str) or not id:
            raise errors.DefinitionError(f'a task is named by a text such as "loan-17/0:3", not by {id!r}')
        views = door.store.views
        name, _, step = id.rpartition("/")
        named = name if name and _STEP.fullmatch(step) else id
        for run, certain in ((named, step), (id, "")):
            row = views.row(run) if run_id is None else views.row_of(run, _run_id(run_id))
            if row is not None and (certain == "" or run != id):
                return row, certain or self._only(row)
        raise errors.TaskNotFound(
            f"there is no run {named!r} that could have a human task; perdure task list names those that are open"
        )

    def _only(self, run: RunRow) -> str:
        rows = self._opened().store.views.human.find(HumanFilter(run=run.key, limit=SHOWN))
        if len(rows) == 1:
            return rows[0].step
        if not rows:
            return self._only_closed(run)
        names = ", ".join(f"{run.id}/{row.step} ({row.title})" for row in rows)
        raise errors.TaskNotFound(f"run {run.id!r} has several open tasks; name one of: {names}")

    def _only_closed(self, run: RunRow) -> str:
        """Of a run without open tasks the one that it has had."""
        with told_as_damage(run.id):
            had = tales(wire.decode_history(self._stored(run).history))
        if len(had) == 1:
            return next(iter(had))
        if not had:
            raise self._not_found(run, "")
        shown = [f"{run.id}/{step} ({tale.opened.title})" for step, tale in list(had.items())[-SHOWN:]]
        raise errors.TaskNotFound(
            f"run {run.id!r} has no open human task any more; name the one you mean: {', '.join(shown)}"
        )

    def _not_found(self, run: RunRow, step: str) -> errors.TaskNotFound:
        rows = self._opened().store.views.human.find(HumanFilter(run=run.key, limit=SHOWN))
        names = ", ".join(f"{run.id}/{row.step} ({row.title})" for row in rows)
        which = f"human task {step!r}" if step else "open human task"
        return errors.TaskNotFound(f"run {run.id!r} has no {which}; " + (f"open: {names}" if rows else "none is open"))

    def _stored(self, run: RunRow) -> Stored:
        stored = self._opened().store.views.stored(run.key)
        if stored is None:
            raise errors.TaskNotFound(f"run {run.id!r} is not in the database any more")
        return stored

    def _open(self, run: RunRow, step: str) -> HumanTaskRow:
        """The task, if it is open.

        Raises:
            errors.TaskClosed, errors.TaskNotFound: it is not.
        """
        row = self._opened().store.views.human.one(run.key, step)
        if row is not None:
            return row
        tale = self._tale(run, step)
        by = tale.end.by if isinstance(tale.end, ev.TaskCompleted) else ""
        how = "cancelled" if tale.end is None else ENDS[type(tale.end)]
        raise errors.TaskClosed(f"task {run.id}/{step} ({tale.opened.title}) is closed: {closed_words(how, by)}")

    def _tale(self, run: RunRow, step: str) -> Tale:
        """What the history tells of a task. Without an `end`, that of its run has closed it."""
        with told_as_damage(run.id):
            tale = tales(wire.decode_history(self._stored(run).history)).get(step)
        if tale is None:
            raise self._not_found(run, step)
        return tale

    def _is_done(self, run: RunRow, step: str, request: str) -> bool:
        """Whether the same request has completed the task before."""
        if self._opened().store.views.human.one(run.key, step) is not None:
            return False
        end = self._tale(run, step).end
        return isinstance(end, ev.TaskCompleted) and end.request_id == request


def _value(door: Door, run: RunRow, payload: ev.Payload | None) -> Any:
    from perdure.client.description import shown

    views = door.store.views
    return None if payload is None else shown(payload, lambda digest: views.blob(run.key, digest), door.coder)


_answers = ValueType.of(Any, owner="tasks.complete(...)", noun="the answer")


def _demand_fit(task: HumanTaskRow, data: bytes) -> None:
    """Refuse an answer that does not fit what was published of the form."""
    wrong = wrong_in(decode_body(task.body).form, msgspec.json.decode(data))
    if wrong:
        error = errors.AnswerMisfit(
            f"the answer to task {task.title!r} does not fit its form: {'; '.join(map(str, wrong[:SHOWN]))}"
        )
        error.wrong = tuple(wrong)
        raise error


def _demand_person(what: str, name: Any) -> None:
    if not is_person(name):
        raise errors.DefinitionError(
            f"{what} is a name of 1 to {TASK_PERSON_CHARS} printable characters without blanks around it, not {name!r}"
        )


def _groups(groups: Any) -> tuple[str, ...]:
    if isinstance(groups, str):
        raise errors.DefinitionError(f'groups is a list of names, not {groups!r}; write: groups=["{groups}"]')
    named = tuple(groups)
    for each in named:
        _demand_person("a group", each)
    return tuple(each.removeprefix("group:") for each in named)


def _run_id(run_id: Any) -> bytes:
    try:
        return bytes.fromhex(run_id)
    except (TypeError, ValueError):
        raise errors.DefinitionError(f"a run_id has 32 hex digits, and {run_id!r} has not") from None
