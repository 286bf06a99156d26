"""What a named fault does to a commit; see `base.Faults`."""

from perdure.stores import base


def refuse_by(fault: base.Fault | None) -> None:
    """Raise at once for the faults that write nothing."""
    if fault == "refused":
        raise base.CommitRefused("refused by a fault the test asked for")
    if fault == "full":
        raise base.StoreFull("full by a fault the test asked for")
    if fault == "unavailable":
        raise base.StoreUnavailable("unavailable by a fault the test asked for")


def doubt_by(fault: base.Fault | None) -> None:
    """Raise for the faults after which nobody knows."""
    if fault in ("in-doubt-applied", "in-doubt-lost"):
        raise base.CommitInDoubt("in doubt by a fault the test asked for")
