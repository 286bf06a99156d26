"""What a run is started with beside its workflow and its arguments."""

import hashlib
from collections.abc import Container, Iterable, Iterator

import msgspec

from perdure.kernel.attributes import Attribute
from perdure.kernel.limits import END_OF_TIME
from perdure.kernel.policy import RetryPolicy


class Chain(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a run stands in the chain of those that continue each other. `attempt` counts from 1.

    `execution_ends_at`: when the whole chain has to be over, None without a limit. `requests`: those of signals that earlier
    runs of it have received, as digests of 8 bytes, one behind the other: each run of a chain keeps them.
    """

    attempt: int
    first_run_id: bytes
    previous_run_id: bytes
    execution_ends_at: int | None = None
    requests: bytes = b""


class Parent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The run that has started this one, by its step of that id. `key` is where its mail goes.

    `root` is the first of the ancestors, of which there are `depth`.
    """

    key: int
    id: str
    run_id: bytes
    step: str
    root: int
    root_id: str
    root_run_id: bytes
    depth: int = 1


class RunTerms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Kept with the run's first event. A run with none of these has no terms at all. None is no limit, or no retry.

    `request_id` names the request that made the run, so that the same one made again finds it. `run_timeout_ns` counts
    from the run's begin, `execution_timeout_ns` from that of the first run of the chain. `chain` is None in the first, `parent`
    in runs that are nobody's child.
    `pinned`: only the build that has begun it may go on with it.
    """

    request_id: str = ""
    run_timeout_ns: int | None = None
    execution_timeout_ns: int | None = None
    retry: RetryPolicy | None = None
    chain: Chain | None = None
    attributes: tuple[Attribute, ...] = ()
    parent: Parent | None = None
    pinned: bool = False

    @property
    def attempt(self) -> int:
        return 1 if self.chain is None else self.chain.attempt

    def execution_ends_at(self, began_at: int) -> int | None:
        """When the chain has to be over, if this run of it began then."""
        if self.chain is not None:
            return self.chain.execution_ends_at
        return _after(began_at, self.execution_timeout_ns)

    def expires_at(self, began_at: int) -> int | None:
        """When a run that began then has to be over."""
        ends = [_after(began_at, self.run_timeout_ns), self.execution_ends_at(began_at)]
        return min((at for at in ends if at is not None), default=None)


OWN = ("run_timeout_ns", "execution_timeout_ns", "retry", "pinned")
"""Terms that a workflow may have of its own, and a start then has too unless it chooses others."""


def with_own(own: RunTerms | None, terms: RunTerms | None, chosen: Container[str]) -> RunTerms | None:
    """What a start asks for and, of the terms it has not `chosen`, what its workflow says. A run that continues another
    one has what that had."""
    if own is None or (terms is not None and terms.chain is not None):
        return terms
    kept = {name: getattr(own, name) for name in OWN if name not in chosen}
    merged = msgspec.structs.replace(terms or RunTerms(), **kept)
    return None if merged == RunTerms() else merged


_DIGEST_BYTES = 8


def digest_of(request_id: str) -> bytes:
    """What is kept of the request of a signal."""
    return hashlib.blake2b(request_id.encode(), digest_size=_DIGEST_BYTES, person=b"request").digest()


def joined(digests: Iterable[bytes], most: int) -> bytes:
    """The latest of them, as `Chain.requests` has them."""
    return b"".join(list(digests)[-most:])


def digests_in(requests: bytes) -> Iterator[bytes]:
    """And back."""
    return (requests[at : at + _DIGEST_BYTES] for at in range(0, len(requests), _DIGEST_BYTES))


def _after(at: int, ns: int | None) -> int | None:
    return None if ns is None else min(at + ns, END_OF_TIME)
