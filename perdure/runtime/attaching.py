"""Whether a start attaches to the run that has its id: if it is the same start made again, or asks for that; else it is refused."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from perdure import errors
from perdure.kernel import wire
from perdure.kernel.events import Payload, RunStarted
from perdure.kernel.ids import ALLOW_DUPLICATE, FAIL, TERMINATE_EXISTING, USE_EXISTING
from perdure.kernel.messages import Start
from perdure.kernel.run import Status
from perdure.stores.base import Store
from perdure.stores.health import told_as_damage

if TYPE_CHECKING:
    from perdure.workflows import WorkflowDefinition


class Begun(msgspec.Struct):
    """A start: what it is of, and what reads its arguments. `input` None: they are not known."""

    workflow: str
    input: Payload | None
    plain: Callable[[Payload], bytes]


def begin_of(store: Store, key: int) -> RunStarted | Start | None:
    """What a run was started with, wherever that lies."""
    stored = store.views.stored(key)
    if stored is None:
        return None
    if stored.history:
        with told_as_damage(stored.run.id):
            first = wire.decode_events(stored.history[0])[0]
        return first if isinstance(first, RunStarted) else None
    return next((mail.message for mail in stored.mail if isinstance(mail.message, Start)), None)


def demand_same(id: str, ours: Begun, theirs: Begun, definition: "WorkflowDefinition[Any, Any] | None") -> None:
    """Attaching is for the same start made again; anything else is a mistake about the id.

    Raises:
        errors.RunExists: it is of another workflow, or has other arguments.
    """
    demand_workflow(id, ours.workflow, theirs.workflow)
    if theirs.input is None or ours.input is None or theirs.input == ours.input:
        return
    try:
        if _canonical(definition, ours.plain(ours.input)) == _canonical(definition, theirs.plain(theirs.input)):
            return
    except errors.PerdureError:
        pass  # what cannot be read any more is not the same
    raise errors.RunExists(
        f"the id {id!r} belongs to a run of {theirs.workflow} with other arguments "
        f"(see them with: perdure show {id}); choose another id, or say id_conflict=... (if it is open) "
        "or id_reuse=... (if it has ended)"
    )


def demand_workflow(id: str, ours: str, theirs: str) -> None:
    """Raises errors.RunExists if the run that has the id is of another workflow."""
    if ours != theirs:
        raise errors.RunExists(
            f"the id {id!r} belongs to a run of workflow {theirs}, and this start is of {ours}; choose another id"
        )


def taken(id: str, status: int, id_reuse: str, child: bool = False) -> errors.RunExists:
    """Why the policies of a start do not give it the id that a run of this status has."""
    state = Status(status)
    if status < Status.COMPLETED:
        if child:
            return errors.RunExists(
                f"the id {id!r} belongs to a run that is {state.word}; wait for its end, choose another id for the child, "
                f'or say id_conflict="{TERMINATE_EXISTING}"'
            )
        return errors.RunExists(
            f'the id {id!r} belongs to a run that is {state.word}, and this start says id_conflict="{FAIL}"; wait for its '
            f'end, choose another id, or say id_conflict="{USE_EXISTING}" or "{TERMINATE_EXISTING}"'
        )
    return errors.RunExists(
        f'the id {id!r} belongs to a run that is {state.word}, and this start says id_reuse="{id_reuse}"; '
        f'choose another id, or say id_reuse="{ALLOW_DUPLICATE}"'
    )


def _canonical(definition: "WorkflowDefinition[Any, Any] | None", data: bytes) -> Any:
    """The same arguments as the same value, whoever encoded them and whichever defaults were left out."""
    if definition is None:
        return msgspec.json.decode(data)
    return definition.parameters.encode(*definition.parameters.decode(data))


def unknown_workflow(name: str, known: Iterable[str]) -> errors.UnknownWorkflow:
    names = ", ".join(sorted(known)[:10]) or "none"
    return errors.UnknownWorkflow(
        f"the engine that owns this database was not given the workflow {name!r}; it knows: {names}. "
        f"Add it: Engine(..., [..., {name}])"
    )
