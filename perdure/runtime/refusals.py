"""What a message or a start was refused with, as an error to be raised."""

from perdure import errors
from perdure.failures import remote_error
from perdure.kernel import wire
from perdure.kernel.decide import Refused
from perdure.runtime.letters import Heard

_ERRORS: dict[str, type[errors.PerdureError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.PerdureError) and not issubclass(kind, errors.ActivityFailed)
}


def error_of(heard: Heard) -> errors.PerdureError:
    """The error of a code, with what the run's code has said as its cause."""
    error = _ERRORS.get(heard.code, errors.PerdureError)(heard.error)
    if heard.data is not None:
        error.__cause__ = remote_error(wire.decode_failure(heard.data))
    return error


def heard_of(refused: Refused) -> Heard:
    """What the sender of a message that was refused is told."""
    data = None if refused.failure is None else wire.encode(refused.failure)
    return Heard(refused.code, str(refused), data)
