"""Human tasks: a workflow asks people, and waits for their answer.

    decision = await task("Approve loan", form=LoanDecision, assignees=["ann", "group:credit"], due="2 days", remind="1 day")

Whoever is told of it by `notify` is told by steps of their own, beside the task: the workflow does not wait for them.
"""

import asyncio
import contextvars
from collections.abc import Callable, Generator, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any, Generic, TypeVar, overload

import msgspec

from perdure.calls import Call, Lazy
from perdure.durations import duration_ns, took
from perdure.errors import AnswerMisfit, DefinitionError, PerdureError, TaskExpired, is_bug
from perdure.kernel import commands as cmd
from perdure.kernel import events as ev
from perdure.kernel.human import is_person
from perdure.kernel.limits import TASK_ASSIGNEES, TASK_DATA_BYTES, TASK_TITLE_CHARS
from perdure.languages.python.context import current_loop
from perdure.languages.python.guard import WorkflowInterrupted
from perdure.languages.python.logs import logger
from perdure.languages.python.loop import WorkflowLoop, block_by
from perdure.languages.python.machine import decoded, undecodable
from perdure.languages.python.tasks import Future, Sealed, Task
from perdure.payload import seal
from perdure.payload.codec import codec_of
from perdure.payload.forms import Form
from perdure.payload.misfit import Misfit, shown

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Duration = float | str | timedelta


class TaskNotice(msgspec.Struct, frozen=True):
    """What people are told of a human task.

    `kind`: "opened", "reminder" or "overdue"; `number` counts the reminders, 0 for the others. `id` is what it is claimed
    and completed by, `hint` the command that shows it. `data` is what the workflow shows with it.
    """

    kind: str
    id: str
    title: str
    run: str
    workflow: str
    assignees: list[str] = []
    due: datetime | None = None
    number: int = 0
    data: Any = None
    hint: str = ""


class TaskOutcome(msgspec.Struct, Generic[T], frozen=True):
    """An answer, who gave it, and when."""

    value: T
    by: str
    at: datetime


class _Wish(msgspec.Struct, frozen=True):
    """A task as it was asked for, found sound."""

    title: str
    form: Form
    assignees: tuple[str, ...]
    due_ns: int | None
    remind_ns: int | None
    timeout_ns: int | None
    data: bytes | None
    notify: Callable[[TaskNotice], Any] | None


class HumanTask(Lazy[T_co]):
    """A question to people; nothing has happened yet. Awaited in a workflow it gives the answer."""

    __slots__ = ("_wish",)

    def __init__(self, wish: _Wish) -> None:
        super().__init__()
        self._wish = wish

    def with_actor(self) -> "Lazy[TaskOutcome[T_co]]":
        """The same task; awaited it gives a `TaskOutcome`: the answer, who gave it, and when."""
        self.take()
        return _WithActor(self._wish)

    def _begin(self) -> Generator[Any, Any, T_co]:
        return _value(_open(self._wish)).__await__()

    def _again(self) -> str:
        return "call task(...) again to ask once more"

    def _forgotten(self) -> str:
        return f"task({self._wish.title!r}) was never awaited, so nobody was asked; write: await task(...)"

    def __repr__(self) -> str:
        return f"<human task {self._wish.title!r}>"


class _WithActor(HumanTask[Any]):
    __slots__ = ()

    def _begin(self) -> Generator[Any, Any, Any]:
        return _outcome(_open(self._wish)).__await__()


async def _value(asked: "Asked") -> Any:
    return (await asked).value


async def _outcome(asked: "Asked") -> Any:
    return await asked


@overload
def task(
    title: str,
    *,
    form: type[T],
    assignees: Iterable[str] = (),
    due: Duration | None = None,
    remind: Duration | None = None,
    timeout: Duration | None = None,
    data: Any = None,
    notify: Callable[[TaskNotice], Any] | None = None,
) -> HumanTask[T]: ...
@overload
def task(
    title: str,
    *,
    form: None = None,
    assignees: Iterable[str] = (),
    due: Duration | None = None,
    remind: Duration | None = None,
    timeout: Duration | None = None,
    data: Any = None,
    notify: Callable[[TaskNotice], Any] | None = None,
) -> HumanTask[None]: ...
@overload
def task(
    title: str,
    *,
    form: Any,
    assignees: Iterable[str] = (),
    due: Duration | None = None,
    remind: Duration | None = None,
    timeout: Duration | None = None,
    data: Any = None,
    notify: Callable[[TaskNotice], Any] | None = None,
) -> HumanTask[Any]: ...
def task(
    title: str,
    *,
    form: Any = None,
    assignees: Iterable[str] = (),
    due: Duration | None = None,
    remind: Duration | None = None,
    timeout: Duration | None = None,
    data: Any = None,
    notify: Callable[[TaskNotice], Any] | None = None,
) -> HumanTask[Any]:
    """Ask people, and wait for the answer: it is listed, claimed and completed from clients and the command line.

    Args:
        title: what is to be done, in one line.
        form: the type of the answer, such as a dataclass; None asks for nothing but that it is done.
        assignees: people, "ann", and groups, "group:credit", who may do it; nobody named is anybody.
        due: when it should be done (a duration from now on); after that it is shown as overdue.
        remind: how often people are reminded (a duration), as long as it is open.
        timeout: how long the workflow waits (a duration); then the task is closed.
        data: what is shown with it; anything that has a JSON form.
        notify: an activity that takes a `TaskNotice`, or a function that gives a call of one (or None, for no notice):
            called when the task is opened, for each reminder, and when it is overdue.

    Raises:
        DefinitionError: one of them makes no sense.
        TaskExpired: (when awaited) nobody has completed it within `timeout`.
    """
    _demand(isinstance(title, str) and bool(title.strip()), f"task(): a title was expected, found {shown(title)}")
    _demand(
        len(title) <= TASK_TITLE_CHARS and title.isprintable(),
        f"task(): a title has at most {TASK_TITLE_CHARS} printable characters in one line, not {title[:40]!r}… "
        f"({len(title)}); what else there is to say belongs into data=",
    )
    owner = f"task {title!r}"
    _demand(notify is None or callable(notify), f"{owner}: notify is an activity or a function, not {shown(notify)}")
    return HumanTask(
        _Wish(
            title,
            Form(form, owner),
            _people(assignees, owner),
            _ns("due", due, owner),
            _ns("remind", remind, owner),
            _ns("timeout", timeout, owner),
            _data(data, owner),
            notify,
        )
    )


def _demand(holds: bool, message: str) -> None:
    if not holds:
        raise DefinitionError(message)


def _ns(name: str, value: Any, owner: str) -> int | None:
    if value is None:
        return None
    try:
        ns = duration_ns(value)
    except DefinitionError as error:
        raise DefinitionError(f"{owner}: {name}: {error}") from None
    if name == "remind":
        _demand(ns >= _REMIND_LEAST_NS, f"{owner}: remind must be at least a second, not {value!r}")
    _demand(ns > 0, f"{owner}: {name} must be longer than nothing, not {value!r}")
    return ns


_REMIND_LEAST_NS = 1_000_000_000
"""People who are reminded more often than that do not read it any more."""


def _people(assignees: Any, owner: str) -> tuple[str, ...]:
    _demand(
        not isinstance(assignees, str | bytes) and isinstance(assignees, Iterable),
        f'{owner}: assignees are a list of names, as in ["ann", "group:credit"], not {shown(assignees)}',
    )
    people: tuple[str, ...] = tuple(dict.fromkeys(assignees))
    for each in people:
        _demand(is_person(each), f'{owner}: an assignee is a name such as "ann" or "group:credit", not {shown(each)}')
    _demand(
        len(people) <= TASK_ASSIGNEES,
        f"{owner}: {len(people)} assignees, and at most {TASK_ASSIGNEES} may be named; name a group",
    )
    return people


def _data(data: Any, owner: str) -> bytes | None:
    if data is None:
        return None
    try:
        encoded = codec_of(Any, owner, "the data").encode(data)
    except Misfit as misfit:
        raise DefinitionError(f"{owner}: the data{misfit.path}: {misfit.problem}") from misfit.__cause__
    _demand(
        len(encoded) <= TASK_DATA_BYTES,
        f"{owner}: its data has {len(encoded):,} bytes; at most {TASK_DATA_BYTES:,} are shown, pass a reference instead",
    )
    return encoded


def _open(wish: _Wish) -> "Asked":
    loop = current_loop()
    if loop is None:
        raise DefinitionError(
            f"task({wish.title!r}) was awaited where no workflow runs; await it in a workflow that an engine runs"
        )
    if loop.sealed:
        raise Sealed
    what = f"the data of task {wish.title!r}"
    data = None if wish.data is None else seal(wish.data, loop.put, loop.max_bytes, what)
    id = loop.next_id()
    loop.commands[id] = cmd.OpenTask(
        id, wish.title, wish.form.schema, data, wish.assignees, wish.due_ns, wish.remind_ns, wish.timeout_ns
    )
    asked = Asked(loop, id, wish)
    loop.waiting[id] = asked
    asked.notify("opened")
    return asked


class Asked(Future):
    """Stands for an answer. Cancelled, it withdraws the task."""

    __slots__ = ("_context", "_notices", "_opened_at", "_reminders", "_wish", "id", "loop")

    def __init__(self, loop: WorkflowLoop, id: str, wish: _Wish) -> None:
        super().__init__(loop=loop)
        self.loop = loop
        self.id = id
        self._wish = wish
        self._opened_at = loop.now
        self._reminders = 0
        self._notices: list[Task] = []
        self._context = contextvars.copy_context()

    def cancel(self, msg: Any = None) -> bool:
        if not asyncio.Future.cancel(self, msg):
            return False
        self.loop.withdraw_task(self.id)
        self._end_notices()
        return True

    def admit(self, loop: WorkflowLoop, result: ev.Payload) -> None:
        """Raises AnswerMisfit if the answer does not fit the form."""
        try:
            decoded(loop, self._wish.form.decode, result)
        except WorkflowInterrupted:
            raise AnswerMisfit(
                f"the answer to task {self._wish.title!r} could not be checked: its form takes too long to make"
            ) from None

    def tell(self, event: ev.TaskCompleted | ev.TaskReminded | ev.TaskExpired) -> None:
        """Something has happened to the task."""
        if isinstance(event, ev.TaskReminded):
            self._reminders += event.kind == "reminder"
            self.notify(event.kind)
            return
        del self.loop.waiting[self.id]
        self._end_notices()
        title = self._wish.title
        if isinstance(event, ev.TaskExpired):
            limit = took((self._wish.timeout_ns or 0) / 1e9)
            self.set_exception(TaskExpired(f"nobody has completed task {title!r} within its timeout of {limit}"))
            return
        try:
            value = decoded(self.loop, self._wish.form.decode, event.result)
        except PerdureError as error:
            raise undecodable(self.loop, f"the answer to task {title!r} [{self.id}]", error, "") from error
        self.set_result(TaskOutcome(value, event.by, _moment(event.at)))

    def notify(self, kind: str) -> None:
        """Have people told, by a task of its own: it has the path of the human task, and a number."""
        if self._wish.notify is None:
            return
        loop = self.loop
        path = f"{self.id}.{len(self._notices) + 1}"
        self._notices.append(loop.start(self._tell_people(self._notice(kind)), path, self._context.copy()))

    def _notice(self, kind: str) -> TaskNotice:
        wish, run = self._wish, self.loop.info
        id = f"{run.id}/{self.id}"
        return TaskNotice(
            kind=kind,
            id=id,
            title=wish.title,
            run=run.id,
            workflow=run.workflow,
            assignees=list(wish.assignees),
            due=None if wish.due_ns is None else _moment(self._opened_at + wish.due_ns),
            number=self._reminders if kind == "reminder" else 0,
            data=None if wish.data is None else msgspec.json.decode(wish.data),
            hint=f"perdure task show {id}",
        )

    async def _tell_people(self, notice: TaskNotice) -> None:
        """A notice that does not reach anybody is no reason for the workflow to fail."""
        assert self._wish.notify is not None
        try:
            call = self._wish.notify(notice)
            if call is None:
                return
            if not isinstance(call, Call):
                raise DefinitionError(
                    f"the notify of task {notice.title!r} gave {shown(call)}; it gives a call of an activity, or None"
                )
            await call
        except Exception as error:  # noqa: BLE001  whatever it is, it concerns the notice alone
            if is_bug(error):
                self.loop.block(block_by(error, f" in the notify of task {notice.title!r}"))
            else:
                logger.warning("nobody was told of task %r (%s): %s", notice.title, notice.kind, error)

    def _end_notices(self) -> None:
        """What is not told by now need not be told any more."""
        for each in self._notices:
            if not each.done():
                each.cancel()


def _moment(ns: int) -> datetime:
    return datetime.fromtimestamp(0, timezone.utc) + timedelta(microseconds=ns // 1000)  # noqa: UP017
