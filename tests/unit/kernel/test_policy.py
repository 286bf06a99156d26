"""When the next attempt is due."""

from hypothesis import given
from hypothesis import strategies as st

from perdure.kernel.policy import DEFAULT_RETRY, SECOND_NS, RetryPolicy, delay_ns, exhausted

policies = st.builds(
    RetryPolicy,
    initial_ns=st.integers(0, 10**15),
    coefficient=st.floats(1.0, 1e6),
    maximum_ns=st.integers(0, 10**18),
    max_attempts=st.integers(0, 50),
    jitter=st.floats(0.0, 1.0),
)


def test_the_default_doubles_from_one_second_up_to_a_hundred():
    delays = [delay_ns(DEFAULT_RETRY, n, "0:1") // SECOND_NS for n in range(1, 10)]

    assert delays == [1, 2, 4, 8, 16, 32, 64, 100, 100]
    assert not exhausted(DEFAULT_RETRY, 10**9)


def test_max_attempts_is_the_number_of_attempts_not_of_retries():
    policy = RetryPolicy(max_attempts=3)

    assert [exhausted(policy, n) for n in range(1, 5)] == [False, False, True, True]


def test_a_delay_too_large_for_a_float_is_the_maximum():
    assert delay_ns(RetryPolicy(coefficient=1e300), 500, "") == DEFAULT_RETRY.maximum_ns


@given(policies, st.integers(0, 10**9), st.text(max_size=10))
def test_a_delay_is_never_negative_and_never_beyond_the_maximum_with_its_jitter(policy, counted, salt):
    delay = delay_ns(policy, counted, salt)

    assert 0 <= delay <= policy.maximum_ns * (1 + policy.jitter) + 1


@given(policies, st.integers(1, 1_000), st.text(max_size=10))
def test_the_same_history_gives_the_same_delay(policy, counted, salt):
    assert delay_ns(policy, counted, salt) == delay_ns(policy, counted, salt)


@given(st.integers(1, 10**12), st.floats(1.0, 10.0), st.integers(1, 60))
def test_without_jitter_delays_never_shrink(initial, coefficient, counted):
    policy = RetryPolicy(initial_ns=initial, coefficient=coefficient, maximum_ns=10**18)

    assert delay_ns(policy, counted, "") <= delay_ns(policy, counted + 1, "")


def test_jitter_spreads_around_the_delay():
    policy = RetryPolicy(jitter=0.2)
    delays = [delay_ns(policy, 1, f"order-{n}:0:1") / SECOND_NS for n in range(500)]

    assert 0.8 <= min(delays) < 0.82
    assert 1.18 < max(delays) <= 1.2
    assert abs(sum(delays) / len(delays) - 1) < 0.02
