"""What is asked of a run through its database: a letter, and the word of its owner, if it has one."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from perdure import errors
from perdure.kernel import messages as msg
from perdure.kernel.events import Payload, RunStarted
from perdure.kernel.ids import Claim, claim
from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.payload import PLAIN, Coder
from perdure.runtime.attaching import Begun, begin_of, demand_same, demand_workflow, taken
from perdure.runtime.letters import Heard, Sent, Started, StartRequest
from perdure.runtime.refusals import error_of, heard_of
from perdure.runtime.waiters import rests
from perdure.stores.base import MailRow, ReplyRow, Store

T = TypeVar("T")

REPLY_SECONDS = 10.0
"""How long a reply of a living owner is waited for. What was asked is in the mailbox, and will be heard all the same."""

TAKEOVER_SECONDS = 2.0
"""How long after its death another owner is waited for, which has the mailbox then."""

_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.05


def found_first(find: Callable[[], T]) -> T:
    """What is looked up before anything is sent."""
    with said(nothing=True):
        return find()


def start_by_mail(
    store: Store, request: StartRequest, definition: Any, coder: Coder = PLAIN, now: int | None = None
) -> Started:
    """Queue a run in the database and wait for its owner's word, if there is one; or attach to the run of that id.

    Raises:
        errors.PerdureError: the owner refuses it, or the id belongs to something else.
    """
    sent = request.sent = request.sent or Sent()
    with said(nothing=True):
        owned = bool(store.views.owners())
    if not owned and isinstance(request.wishes.first, msg.Update):
        raise _nobody(store, request.workflow)
    if sent.reply_to is None:
        sent.reply_to = os.urandom(8).hex() if owned else ""
    row, start = submission_of(request, bool(sent.reply_to), time.time_ns() if now is None else now)
    again, sent.again = sent.again, True
    found = store.post.submit(row, MailRow(0, 0, start, sent.reply_to), again)
    with said(nothing=False):
        if found.run_id != sent.run_id:
            return _joined(store, request, found, definition, coder, now)
        store.post.nudge((found.key,))
        if sent.reply_to and not _await_reply(store, sent.reply_to) and isinstance(request.wishes.first, msg.Update):
            raise _late(row, request.wishes.first)
        return Started(found.key, sent.run_id)


def _joined(
    store: Store, request: StartRequest, found: RunRow, definition: Any, coder: Coder, now: int | None
) -> Started:
    """The id has a run already: what goes with the start is said to that, unless it has ended meanwhile."""
    started, wishes = _attached(store, request, found, definition, coder), request.wishes
    if wishes.first is None or (wishes.request_id and found.request == wishes.request_id):
        return started
    heard = heard_by_mail(store, store.views.rows_by_key([started.key])[started.key], wishes.first)
    if heard.code == errors.RunClosed.code:  # it has ended since
        return start_by_mail(store, request, definition, coder, now)
    if heard.code:
        raise error_of(heard)
    return started


@contextlib.contextmanager
def said(nothing: bool) -> Iterator[None]:
    """If the database goes away inside: whether anything may have been written by then."""
    try:
        yield
    except errors.StoreUnreachable as error:
        error._unsent = nothing
        raise


def submission_of(request: StartRequest, refuse_by_reply: bool, now: int) -> tuple[RunRow, msg.Start]:
    """The row of the run that is wished for, and its Start, which has all of its arguments."""
    input = request.input
    if input.ref:
        input = Payload((request.blobs or {})[input.data], input.encoding)
    run_id = os.urandom(16) if request.sent is None else request.sent.run_id
    wishes = request.wishes
    row = RunRow(0, request.id, run_id, request.workflow, Status.QUEUED, "", "", now, None, None, 0)
    row.request = wishes.request_id
    row.wake_at = row.started_at + wishes.delay_ns if wishes.delay_ns else None
    start = msg.Start(
        request.workflow,
        input,
        run_id,
        "",
        refuse_by_reply,
        wishes.terms,
        wishes.id_conflict,
        wishes.id_reuse,
        wishes.chosen,
        wishes.memo,
        wishes.first,
    )
    return row, start


def _attached(store: Store, request: StartRequest, found: RunRow, definition: Any, coder: Coder) -> Started:
    """A run has the id: the start attaches to it, if it was made by the same request or if the policies say so."""
    wishes = request.wishes
    if not wishes.request_id or found.request != wishes.request_id:
        first = found.chain or found.key  # what it goes on as may have other arguments
        judged(request, found, partial(begin_of, store, first), partial(_stored_blob, store, first), definition, coder)
    end = store.views.end_of_chain(found.key) or found
    return Started(end.key, found.run_id, attached=True, at_rest=rests(end))


def judged(
    request: StartRequest,
    found: RunRow,
    began: Callable[[], RunStarted | msg.Start | None],
    stored: Callable[[bytes], bytes],
    definition: Any,
    coder: Coder,
) -> None:
    """Whether a start attaches to the run that has its id. `began`: what the first run of its chain was started with;
    `stored`: a payload of that one.

    Raises:
        errors.RunExists: it does not.
    """
    begin = began() if found.chain else None
    workflow = found.workflow if begin is None else begin.workflow
    theirs_is = request.workflow if workflow in getattr(definition, "aliases", ()) else workflow
    match claim(found.status, request.wishes.id_conflict, request.wishes.id_reuse):
        case Claim.ATTACH:
            demand_workflow(request.id, request.workflow, theirs_is)
        case Claim.ATTACH_IF_SAME:
            sent = (request.blobs or {}).__getitem__
            ours = Begun(request.workflow, request.input, lambda payload: coder.unseal(payload, sent))
            begin = begin or began()
            input = None if begin is None else begin.input
            theirs = Begun(theirs_is, input, lambda payload: coder.unseal(payload, stored))
            demand_same(request.id, ours, theirs, definition)
        case _:
            raise taken(request.id, found.status, request.wishes.id_reuse)


def _stored_blob(store: Store, key: int, digest: bytes) -> bytes:
    return store.views.blob(key, digest) or b""


def tell_by_mail(store: Store, row: RunRow, message: msg.Mail) -> None:
    """Send a message through the database. A blocked run takes its cancellation, or a result, when it is released: that
    is not waited for, nor is an owner that does not live."""
    heard = heard_by_mail(store, row, message)
    if heard.code:
        raise error_of(heard)


def heard_by_mail(store: Store, row: RunRow, message: msg.Mail) -> Heard:
    """The same; what became of it, nothing bad if that is not waited for."""
    asks = isinstance(message, msg.Query | msg.Update)
    with said(nothing=True):
        owned = bool(store.views.owners())
        if isinstance(message, msg.Signal) and row.status >= Status.COMPLETED and not owned:
            refused = _refused_for_ever(store, row, message)
            if refused is not None:
                return refused
    if asks and not owned:
        raise _nobody(store, row.workflow)
    waits = asks or (not _sleeps(row, message) and owned)
    token = os.urandom(8).hex() if waits else ""
    store.post.send(MailRow(0, row.key, message, token))
    with said(nothing=False):
        store.post.nudge((row.key,))
        if not waits:
            return Heard()
        sleeps = lambda: _sleeps(store.views.rows_by_key([row.key]).get(row.key, row), message)  # noqa: E731
        reply = _awaited_reply(store, token, sleeps)
        if reply is not None:
            return Heard(reply.code, reply.error, reply.data)
        if asks or (isinstance(message, msg.Signal) and bool(store.views.owners()) and not sleeps()):
            raise _late(row, message)
        return Heard()


def _refused_for_ever(store: Store, row: RunRow, signal: msg.Signal) -> Heard | None:
    """What speaks against a signal to a run that has ended and does not go on: no engine is needed to say so. None: nothing, as
    the run goes on as another one, or has received the same request before."""
    from perdure.kernel import wire  # only here is a history read
    from perdure.kernel.decide import Refused, decide
    from perdure.kernel.project import restore
    from perdure.stores.health import told_as_damage

    stored = store.views.stored(row.key)
    if stored is None or stored.run.followed_by > 0:
        return None
    with told_as_damage(row.id):
        run = restore(stored.run, wire.decode_history(stored.history), stored.attempts)
    try:
        decide(run, signal, time.time_ns())
    except Refused as refused:
        return heard_of(refused)
    return None


def _nobody(store: Store, workflow: str) -> errors.EngineNotRunning:
    error = errors.EngineNotRunning(
        f"no engine owns {store.address}, so that nobody can answer; start one, with the workflow {workflow!r}"
    )
    error._unowned = True
    return error


def _late(row: RunRow, message: msg.Mail) -> errors.WaitedTooLong:
    """What was sent lies in the mailbox: sent again it would be another message, unless it is the same request."""
    who = f"the engine has died, or has not answered within {REPLY_SECONDS:g} s"
    if isinstance(message, msg.Query):
        return errors.WaitedTooLong(f"{who}; ask again")
    if isinstance(message, msg.Update):
        return errors.WaitedTooLong(
            f"{who}; the update {message.id!r} is in the mailbox of run {row.id!r}, which hears it when it can: ask for its answer, "
            f"handle.update_handle({message.id!r}).result(), or send it again as the same request, handle.as_request({message.id!r})"
        )
    return errors.WaitedTooLong(
        f"{who}; the signal is in the mailbox of run {row.id!r}, which hears it when it can. To be able to send it again, name the "
        "request: handle.as_request(...)"
    )


def _sleeps(row: RunRow, message: msg.Mail) -> bool:
    """Whether the message has to wait until the run is released."""
    return row.status in (Status.BLOCKED, Status.QUARANTINED) and not isinstance(message, _HEARD_BLOCKED)


_HEARD_BLOCKED = (msg.Retry, msg.Terminate, msg.Move, msg.Update, msg.Query)
"""Messages that somebody answers even if the run is blocked."""


def _await_reply(store: Store, token: str) -> bool:
    """Whether the owner has answered. Raises what it was refused with."""
    reply = _awaited_reply(store, token, lambda: False)
    if reply is not None and reply.code:
        raise error_of(Heard(reply.code, reply.error, reply.data))
    return reply is not None


def _awaited_reply(store: Store, token: str, sleeps: Callable[[], bool]) -> ReplyRow | None:
    """Until an owner answers, there is none, or it cannot read the message for as long as the run `sleeps`."""
    pause = _FIRST_PAUSE_SECONDS
    end = time.monotonic() + REPLY_SECONDS
    orphaned_at: float | None = None
    while True:
        now = time.monotonic()
        try:
            reply = store.post.take_reply(token)
            if reply is not None or now > end:
                return reply
            if pause >= _LONGEST_PAUSE_SECONDS:
                if sleeps():
                    return None
                if store.views.owners():
                    orphaned_at = None
                elif orphaned_at is None:
                    orphaned_at = now
                elif now - orphaned_at > TAKEOVER_SECONDS:
                    return None
        except errors.StoreUnreachable:  # what was asked is written; a database that others keep comes back
            if store.membership is None or now > end:
                raise
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
