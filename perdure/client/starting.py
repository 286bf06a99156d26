"""The options of a start: checked, and made what the kernel calls them, before anything happens."""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

import msgspec

from perdure.attributes import AttributeValue, attributes_of
from perdure.errors import DefinitionError
from perdure.handlers import Message, is_name
from perdure.kernel import ids
from perdure.kernel import messages as msg
from perdure.kernel.events import Payload
from perdure.kernel.limits import ID_CHARS, PAYLOAD_MAX_BYTES
from perdure.kernel.terms import OWN, RunTerms
from perdure.options import RUN_OPTIONS, Duration, Retry, delay_of, run_terms
from perdure.payload import Coder, memo_json
from perdure.payload.memo import memo_too_large
from perdure.payload.misfit import did_you_mean
from perdure.runtime.letters import NO_WISHES, Wishes

IdConflict = Literal["use_existing", "fail", "terminate_existing"]
IdReuse = Literal["allow_duplicate", "allow_duplicate_failed_only", "reject_duplicate"]


class StartOptions(TypedDict, total=False):
    """What `start` and `run` take beside the call and its id."""

    id_conflict: IdConflict | None
    """If the newest run of the id is open: attach to it ("use_existing"), refuse ("fail"), or end it and begin
    ("terminate_existing"). None attaches if it is the same start made again, and refuses otherwise."""
    id_reuse: IdReuse | None
    """If the newest run of the id has ended: begin another one ("allow_duplicate"), only if that one did not complete
    ("allow_duplicate_failed_only"), or refuse ("reject_duplicate"). None attaches if it is the same start made again,
    and refuses otherwise."""
    request_id: str | None
    """Names this request. The same request made again, after a lost answer, say, gets the run that it has made, whatever
    the policies and the arguments; another run is never made by it."""
    start_delay: Duration | None
    """How long the run waits, queued, before it begins; a cancellation lets it begin at once."""
    run_timeout: Duration | None
    """How long the run may take from its begin. Then it is ended as timed out, whatever it does, without cleanup.
    Not given: what the workflow says; None: no limit."""
    execution_timeout: Duration | None
    """The same from the begin of the first attempt to the end of the last. The shorter one counts."""
    retry: Retry | int | None
    """A `Retry`, or a number of attempts: a run that fails, or takes longer than `run_timeout`, is followed by another
    one of the same id, in the same transaction; `result()` waits for the last. Not given: what the workflow says; None:
    one attempt."""
    versioning: Literal["auto", "pinned"] | None
    """Which code may go on with the run when another build of it is deployed: any that fits ("auto"), or only the build that
    begins it ("pinned"). Not given: what the workflow says; None: "auto"."""
    memo: Mapping[str, Any] | None
    """Facts about the run, for people: anything that has a JSON form. Shown, and not searched."""
    attributes: Mapping[str, AttributeValue] | None
    """Facts by which runs are found: texts, whole numbers, floats, True and False, datetimes, lists of texts."""
    signal: Message[Any] | None
    """A signal, `Loan.decide.message(yes)`, that is said to the run in the same transaction: to the one that the start begins, or
    else to the open one of the id. So `id_conflict` is "use_existing", and `id_reuse` "allow_duplicate", unless it is given."""


def wishes_of(options: Mapping[str, Any]) -> Wishes:
    """What a starter asks for.

    Raises:
        DefinitionError: there is no such option, or it makes no sense.
    """
    if not options:
        return NO_WISHES
    if options.get("connection") is not None:
        raise DefinitionError(
            "a run that is started with a connection begins when the transaction has committed, and nobody can wait for it before; "
            "write start(..., connection=...), and ask its handle for the result after the commit"
        )
    for name in options:
        if name not in _OPTIONS:
            hint = did_you_mean(name, _OPTIONS) or f"; there are: id, {', '.join(_OPTIONS)}"
            raise DefinitionError(f"a start has no option {name!r}{hint}")
    conflict = _policy("id_conflict", options.get("id_conflict"), ids.CONFLICTS)
    reuse = _policy("id_reuse", options.get("id_reuse"), ids.REUSES)
    if conflict == ids.TERMINATE_EXISTING and reuse == ids.REJECT_DUPLICATE:
        raise DefinitionError(
            f'id_conflict="{conflict}" and id_reuse="{reuse}" contradict each other: the run that is ended would be a '
            "duplicate at once; leave one out"
        )
    chosen = tuple(_OWN[name] for name in RUN_OPTIONS if name in options)
    delay_ns = delay_of(options.get("start_delay"), "start_delay", "a start")
    memo = options.get("memo")
    memo = None if memo is None else Payload(memo_json(memo, "a start"))
    _demand_message(options.get("signal"), delay_ns)
    return Wishes(conflict, reuse, _terms(options), delay_ns, chosen, memo)


def _demand_message(signal: Any, delay_ns: int) -> None:
    if signal is None:
        return
    if not isinstance(signal, Message):
        raise DefinitionError(
            f"signal is a message with its arguments, not {signal!r}; write: signal=Loan.decide.message(True), or "
            'signal=Message("decide", [True]) by name'
        )
    if delay_ns:
        raise DefinitionError("signal and start_delay contradict each other: a message lets a run begin at once")


def with_message(wishes: Wishes, first: msg.Signal | msg.Update) -> Wishes:
    """The same for a start with a message: the policies that it has if none was chosen are others."""
    conflict, reuse = wishes.id_conflict or ids.USE_EXISTING, wishes.id_reuse or ids.ALLOW_DUPLICATE
    return msgspec.structs.replace(wishes, first=first, id_conflict=conflict, id_reuse=reuse)


_OPTIONS = tuple(StartOptions.__annotations__)
_OWN: dict[str, str] = dict(zip(RUN_OPTIONS, OWN, strict=True))


def _policy(name: str, value: Any, known: tuple[str, ...]) -> str:
    if value is None:
        return ""
    if value not in known:
        words = ", ".join(f'"{each}"' for each in known)
        raise DefinitionError(f"{name} is one of {words}, or None, not {value!r}{did_you_mean(str(value), known)}")
    return value


def _terms(options: Mapping[str, Any]) -> RunTerms | None:
    terms = run_terms(options, "a start")
    attributes = attributes_of(options.get("attributes"), "a start")
    terms = msgspec.structs.replace(terms, request_id=_request_id(options.get("request_id")), attributes=attributes)
    return None if terms == RunTerms() else terms


def sealed(wishes: Wishes, coder: Coder) -> Wishes:
    """The same with the memo, and the arguments of a message, as the codec makes them.

    Raises:
        PayloadError: the codec cannot, or makes it too large.
    """
    if wishes.memo is not None:
        put = memo_too_large("the memo")
        wishes = msgspec.structs.replace(wishes, memo=coder.seal(wishes.memo.data, put, PAYLOAD_MAX_BYTES, "the memo"))
    if wishes.first is not None:
        input = coder.seal_whole(wishes.first.input.data, PAYLOAD_MAX_BYTES, f"the arguments of {wishes.first.name}")
        wishes = msgspec.structs.replace(wishes, first=msgspec.structs.replace(wishes.first, input=input))
    return wishes


def _request_id(value: Any) -> str:
    if value is None:
        return ""
    if not is_name(value):
        raise DefinitionError(f"request_id is a text of 1 to {ID_CHARS} printable characters, not {value!r:.60}")
    return value
