"""Exported runs, taken back into a database: to look at them, to ask what other code would make of them, or to go on.

A run that has ended comes as it is. One that is open comes *blocked*, of the kind "imported": it does nothing before
somebody says so (`perdure retry`), since it may go on where it has come from. All of what is given comes, or nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from perdure import errors
from perdure.client.export import ExportedRun
from perdure.client.export_streams import chunk_rows_of
from perdure.client.moments import rfc3339
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel import wire
from perdure.kernel.attributes import Attribute, merged
from perdure.kernel.overdue import LOST_FAILURE
from perdure.kernel.project import attributes_in, project, restore, run_row
from perdure.kernel.run import Run, Status
from perdure.kernel.step import OUT
from perdure.stores.base import Placed, Store
from perdure.stores.streaming import StreamRow


class Imported(msgspec.Struct, frozen=True):
    """What became of an exported run. `id` is the one it has here; "there": this very run was here already."""

    id: str
    run_id: str
    workflow: str
    status: str
    events: int
    fate: Literal["imported", "there"]


def import_runs(
    store: Store, runs: Iterable[tuple[str, ExportedRun]], *, new_ids: bool = False, running: bool = False
) -> list[Imported]:
    """Take runs into a store, all or none. An engine may own it meanwhile.

    Args:
        runs: each with the name that errors call it by.
        new_ids: under ids of their own, "order-1~4f1c2a" of "order-1": a copy beside a run that has the id.
        running: open runs go on as soon as an engine has them. Else they are blocked until somebody releases them.

    Raises:
        errors.RunExists: an id belongs to another run.
        errors.ExportUnreadable: a run is redacted, or contradicts itself.
    """
    given = sorted(runs, key=lambda named: named[1].run.key)
    placed = [_placed(name, run, new_ids, running) for name, run in given]
    fates = store.post.place(placed)
    taken = sorted({each.row.id for each, fate in zip(placed, fates, strict=True) if fate is None})
    if taken:
        others = f" and {len(taken) - 1:,} more" if len(taken) > 1 else ""
        raise errors.RunExists(
            f"the id {taken[0]!r}{others} belongs to another run of {store.address}, so nothing was imported; "
            "import under new ids (--new-ids), or into another database"
        )
    store.post.nudge()
    return [
        Imported(
            each.row.id,
            each.row.run_id.hex(),
            each.row.workflow,
            Status(each.row.status).word,
            each.row.seq,
            "imported" if fate else "there",
        )
        for each, fate in zip(placed, fates, strict=True)
    ]


def _placed(name: str, exported: ExportedRun, new_ids: bool, running: bool) -> Placed:
    if exported.redacted:
        raise errors.ExportUnreadable(
            f"{name} is redacted: its values are gone, so it is no run any more; export it without --redact"
        )
    stored = exported.stored()
    mail = [each.message for each in stored.mail]
    run = _restored(name, exported)
    row = exported.run
    if new_ids:
        run.id = f"{run.id}~{run.run_id.hex()[:6]}"
        row = msgspec.structs.replace(row, id=run.id)
    if run.is_open:
        _demand_alone(name, run, mail)
        mail += _lost(run, mail)
        run.block = _block(exported, run)
        row = msgspec.structs.replace(run_row(run), request=row.request, key=row.key)
        if running:
            mail.append(msg.Retry())
    history = stored.history[0] if stored.history else None
    blobs = [(bytes.fromhex(blob.sha256), blob.data) for blob in exported.blobs]
    _demand_blobs(name, exported)
    events = wire.decode_history(stored.history)
    beside = project(_restored(name, exported), events, 0)
    updates = list({each.id: each for each in beside.updates}.values())
    published = list({each.name: each for each in beside.published}.values())
    return Placed(
        row,
        history,
        stored.attempts,
        _attributes(exported, mail),
        blobs,
        mail,
        updates,
        published,
        beside.human,
        [StreamRow(*msgspec.structs.astuple(each)) for each in exported.streams],
        chunk_rows_of(name, exported.streams, exported.chunks, events),
    )


def _restored(name: str, exported: ExportedRun) -> Run:
    """The run as it stood.

    Raises:
        errors.ExportUnreadable: no run can have stood so.
    """
    stored = exported.stored()
    history = wire.decode_history(stored.history)
    if history and type(history[0]) is not ev.RunStarted:
        raise errors.ExportUnreadable(f"{name}: its history does not begin with RunStarted")
    if not history and not any(isinstance(each.message, msg.Start) for each in stored.mail):
        raise errors.ExportUnreadable(f"{name}: it has neither a history nor a start")
    try:
        run = restore(exported.run, history, stored.attempts)
    except Exception as error:
        raise errors.ExportUnreadable(
            f"{name}: no run can have such a history ({type(error).__name__}: {error})"
        ) from error
    if run.is_open != (exported.run.status < Status.COMPLETED):
        says = Status(exported.run.status).word
        raise errors.ExportUnreadable(f"{name}: its summary says that it is {says}, and its history says otherwise")
    return run


def _demand_blobs(name: str, exported: ExportedRun) -> None:
    find = exported.finder()
    for blob in exported.blobs:
        if find(bytes.fromhex(blob.sha256)) is None:
            raise errors.ExportUnreadable(f"{name}: the bytes of payload sha256:{blob.sha256} are damaged")


def _demand_alone(name: str, run: Run, mail: Sequence[msg.Mail]) -> None:
    """Raises errors.ExportUnreadable of an open run whose relatives would be told, or asked, what is meant for others."""
    terms = [run.terms, *(each.terms for each in mail if isinstance(each, msg.Start))]
    parent = next((each.parent for each in terms if each is not None and each.parent is not None), None)
    if parent is not None or run.links:
        kin = f"the child of {parent.id!r}" if parent is not None else "the parent of runs that are open"
        raise errors.ExportUnreadable(
            f"{name}: run {run.id!r} is open, and {kin}, which it could not reach from here; import it when it has ended. "
            "To look at it, or to try other code on it, no database is needed: perdure show FILE, perdure replay FILE"
        )


def _lost(run: Run, mail: Sequence[msg.Mail]) -> list[msg.Mail]:
    """Attempts that workers of queues had elsewhere: here they are lost, when the run is released. (Those of the engine's
    own are found to be so by whoever takes the run up.)"""
    ended = {(each.id, each.attempt) for each in mail if isinstance(each, msg.AttemptEnded | msg.Complete)}
    out = [step for step in run.pending.values() if step.member == OUT and not step.deferred]
    return [
        msg.AttemptEnded(step.id, step.attempt, 0, step.started_at, failure=LOST_FAILURE)
        for step in out
        if (step.id, step.attempt) not in ended
    ]


def _block(exported: ExportedRun, run: Run) -> ev.Block:
    was = Status(exported.run.status).word
    why = f": {run.block.message}" if run.block is not None else ""
    at = exported.exported_at.timestamp()
    return ev.Block(
        kind="imported",
        build="",
        message=f"imported from an export of {rfc3339(int(at * 1e9))}, where it was {was}{why}",
        hint=f"if it does not go on there, let it go on here: perdure retry {run.id}",
        at=int(at * 1e9),
        open_tail=run.open_tail,
        begin_at=run.begin_at,
    )


def _attributes(exported: ExportedRun, mail: Sequence[msg.Mail]) -> list[Attribute]:
    found: dict[str, Attribute] = {}
    for event in wire.decode_history(exported.stored().history):
        found = merged(found, tuple(attributes_in(event)))
    for message in mail if not exported.events else ():
        if isinstance(message, msg.Start) and message.terms is not None:
            found = merged(found, message.terms.attributes)
    return list(found.values())
