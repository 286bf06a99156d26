"""Plans for `faults=` of a store: which commits fail, and how."""

from collections.abc import Callable

from perdure.stores.base import Batch, Fault, Moment


class FaultAt:
    """The n-th commit fails, those before and after it do not. `reached`: whether it came to that."""

    def __init__(self, n: int, fault: Fault) -> None:
        self.n = n
        self.fault: Fault = fault
        self.commits = 0

    @property
    def reached(self) -> bool:
        return self.commits >= self.n

    def __call__(self, moment: Moment, batch: Batch) -> Fault | None:
        if moment == "inside":
            return None
        self.commits += 1
        return self.fault if self.commits == self.n else None


class FaultWhere:
    """Every commit fails that `spoils` says so of, as long as `broken` is true."""

    def __init__(self, fault: Fault, spoils: Callable[[Batch], bool]) -> None:
        self.fault: Fault = fault
        self.spoils = spoils
        self.broken = True
        self.commits = 0

    def __call__(self, moment: Moment, batch: Batch) -> Fault | None:
        if moment == "inside":
            return None
        self.commits += 1
        return self.fault if self.broken and self.spoils(batch) else None
