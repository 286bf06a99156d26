"""How `decide` says no."""

from perdure.kernel.events import Failure


class Refused(Exception):
    """The message does not fit the run's state. `code` is that of an error in `errors`, or "too-many-commands"; `failure`
    what the run's code says against it."""

    def __init__(self, code: str, message: str, failure: Failure | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.failure = failure
