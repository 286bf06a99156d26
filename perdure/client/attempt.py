"""An attempt, seen by whoever has its token: it may be told how it gets on, and be given its end."""

from typing import Any

from perdure import errors
from perdure.client.answer import Answer, Looked
from perdure.client.door import Door, patience_of
from perdure.client.mailing import found_first
from perdure.client.patience import NONE
from perdure.failures import failure_of
from perdure.kernel import messages as msg
from perdure.kernel.events import Failure, Payload
from perdure.kernel.limits import PAYLOAD_INLINE_BYTES
from perdure.payload import ValueType
from perdure.payload.sealing import demand_size
from perdure.runtime.tokens import Named, named_by


class AttemptHandle:
    """The attempt of a token. Making one asks nothing; its methods do, and raise `TokenRefused` if the token is none, or
    if the attempt has an end already. `payload_max_bytes`: a larger result is refused."""

    __slots__ = ("_door", "_max_bytes", "token")

    def __init__(self, door: Door, token: str, payload_max_bytes: int) -> None:
        self._door = door
        self.token = token
        self._max_bytes = payload_max_bytes

    def complete(self, result: Any = None) -> Answer[None]:
        """Give the result: what the function would have returned, or its JSON form.

        Raises:
            errors.TokenRefused: it is no token of this database, or the attempt has an end already.
            errors.InvalidArguments: the workflow could not read the result; the attempt goes on.
            errors.PayloadError: the result cannot be encoded.
        """
        data = _json.encode(result)
        demand_size(data, self._max_bytes, "the result")
        return self._told("complete", lambda named: msg.Complete(named.step, named.attempt, self._coded(data)))

    def fail(self, error: BaseException | str, *, non_retryable: bool = False) -> Answer[None]:
        """End the attempt in a failure: it is tried again as its retry policy says.

        Args:
            error: an exception, or what to say.
            non_retryable: it is not tried again.

        Raises:
            errors.TokenRefused: as for `complete`.
        """
        failure = failure_of(error) if isinstance(error, BaseException) else Failure("Failed", str(error))
        if non_retryable and not failure.non_retryable:
            failure = Failure(failure.type, failure.message, failure.traceback, failure.cause, True, code=failure.code)
        return self._told("fail", lambda named: msg.Complete(named.step, named.attempt, failure=failure))

    def heartbeat(self, details: Any = None) -> Answer[None]:
        """Tell that the attempt lives; `details` as for `activity.heartbeat`.

        Raises:
            errors.TokenRefused: as for `complete`; whoever works on the result can stop.
        """
        data = None if details is None else _json.encode(details)
        if data is not None and len(data) > PAYLOAD_INLINE_BYTES:
            raise errors.PayloadTooLarge(
                f"the details of a heartbeat have {len(data):,} bytes, and at most {PAYLOAD_INLINE_BYTES:,} are kept"
            )
        return self._told(
            "heartbeat",
            lambda named: msg.Heartbeat(named.step, named.attempt, 0, None if data is None else self._coded(data)),
        )

    def _coded(self, data: bytes) -> Payload:
        """As the codec stores it. Large bytes travel in the message; the owner sets them apart."""
        return self._door.coder.seal_whole(data, self._max_bytes, "the result")

    def _told(self, verb: str, message: Any) -> Answer[None]:
        patience = NONE if verb == "heartbeat" else patience_of(self._door, repeatable=False)
        return Looked(f"attempt.{verb}()", lambda: self._tell(message), patience)

    def _tell(self, message: Any) -> None:
        self._door.demand_open()
        views = self._door.store.views
        named: Named = named_by(found_first(views.secret), self.token)
        row = found_first(lambda: views.rows_by_key([named.key])).get(named.key)
        if row is None or row.run_id != named.run_id:
            raise errors.TokenRefused("the run that the token belongs to is not in the database any more")
        self._door.tell(row, message(named))

    def __repr__(self) -> str:
        return f"<attempt of token {self.token[:12]}…>"


_json = ValueType.of(Any, owner="attempt.complete(result)")
