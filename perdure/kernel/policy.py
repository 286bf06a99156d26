"""Retry policies, and when the next attempt is due."""

import hashlib

import msgspec

SECOND_NS = 1_000_000_000


class RetryPolicy(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How the failed attempts of an activity are repeated (Temporal's terms and defaults).

    Times in nanoseconds. `max_attempts` 0 means unlimited. `jitter` is the fraction (0 to 1) by which a
    delay is spread around its value. `bugs` says what an exception that means "the code is wrong" does:
    "hold" the attempt until new code or `retry`, "retry" it like any failure, or "fail" the activity.
    `exhausted` says what becomes of the activity when no further attempt is due: it will "fail", or "hold" its last
    attempt until somebody retries it. `at_most_once`: there is no second attempt, whatever became of the first.
    """

    initial_ns: int = SECOND_NS
    coefficient: float = 2.0
    maximum_ns: int = 100 * SECOND_NS
    max_attempts: int = 0
    jitter: float = 0.0
    non_retryable: tuple[str, ...] = ()
    bugs: str = "hold"
    exhausted: str = "fail"
    at_most_once: bool = False


DEFAULT_RETRY = RetryPolicy()


def exhausted(policy: RetryPolicy, counted_attempts: int) -> bool:
    """Whether the attempts made so far use up the policy."""
    return policy.max_attempts > 0 and counted_attempts >= policy.max_attempts


def is_listed(type_name: str, names: tuple[str, ...]) -> bool:
    """Whether a class is listed, by its full or its bare name; `__main__`, which a script is called, is any module."""
    if not names:
        return False
    module, _, bare = type_name.rpartition(".")
    if not {type_name, bare, f"__main__.{bare}"}.isdisjoint(names):
        return True
    return module == "__main__" and any(name.endswith(f".{bare}") for name in names)


def delay_ns(policy: RetryPolicy, counted_attempts: int, salt: str) -> int:
    """Nanoseconds from the end of the `counted_attempts`-th attempt to the next.

    The jitter is drawn from a hash of `salt` (the run and the step), so that the same history always gives the
    same delay, and runs that failed together do not come back together.
    """
    exponent = min(max(counted_attempts - 1, 0), 1_000)
    try:
        delay = min(policy.initial_ns * policy.coefficient**exponent, float(policy.maximum_ns))
    except OverflowError:
        delay = float(policy.maximum_ns)
    if policy.jitter:
        digest = hashlib.blake2b(f"{salt}:{counted_attempts}".encode(), digest_size=8).digest()
        spread = int.from_bytes(digest, "big") / 2**63 - 1.0
        delay *= 1.0 + policy.jitter * spread
    return int(delay)
