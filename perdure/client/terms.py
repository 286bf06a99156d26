"""What a run was started with beside its arguments, as fields of its description; its attributes and its memo as they are."""

from typing import Any

from perdure.attributes import plain
from perdure.kernel import events as ev
from perdure.kernel.attributes import Attribute, merged
from perdure.kernel.terms import RunTerms


def fields_of(terms: RunTerms | None) -> dict[str, Any]:
    """Those that a run has which is none of the usual ones."""
    if terms is None:
        return {}
    chain = terms.chain
    return {
        "attempt": terms.attempt,
        "max_attempts": 1 if terms.retry is None else terms.retry.max_attempts or None,
        "first_run_id": None if chain is None else chain.first_run_id.hex(),
        "previous_run_id": None if chain is None else chain.previous_run_id.hex(),
        "request_id": terms.request_id,
        "run_timeout": None if terms.run_timeout_ns is None else terms.run_timeout_ns / 1e9,
        "execution_timeout": None if terms.execution_timeout_ns is None else terms.execution_timeout_ns / 1e9,
    }


class Notes:
    """What a run says of itself, while its history is told."""

    def __init__(self) -> None:
        self.memo: dict[str, Any] = {}
        self._attributes: dict[str, Attribute] = {}

    def begin(self, terms: RunTerms | None, memo: Any) -> None:
        self._attributes = {} if terms is None else merged({}, terms.attributes)
        self.note(memo)

    def set(self, event: ev.AttributesSet) -> None:
        self._attributes = merged(self._attributes, event.attributes)

    def note(self, memo: Any) -> None:
        """Change the memo by what was recorded: an object, unless nobody here can read it."""
        if isinstance(memo, dict):
            after = {**self.memo, **memo}
            self.memo = {name: value for name, value in after.items() if value is not None}

    @property
    def attributes(self) -> dict[str, Any]:
        return {name: plain(each) for name, each in self._attributes.items()}
