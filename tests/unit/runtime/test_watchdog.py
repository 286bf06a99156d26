"""What counts as time in which a workflow should have come to an await."""

from perdure.runtime.watchdog import Lived


def test_of_a_process_that_runs_all_time_counts() -> None:
    lived = Lived(1.0, 100.0, 5.0)

    assert [lived.until(100.0 + n / 2, 5.0) for n in range(1, 5)] == [0.5, 1.0, 1.5, 2.0]


def test_of_a_process_that_was_stopped_hardly_any_counts() -> None:
    lived = Lived(1.0, 100.0, 5.0)

    assert lived.until(3_700.0, 5.0) == 1.0
    assert lived.until(3_700.5, 5.0) == 1.5


def test_of_a_call_that_computes_without_giving_the_lock_away_all_counts() -> None:
    lived = Lived(1.0, 100.0, 5.0)

    assert lived.until(110.0, 15.0) == 10.0


def test_what_several_threads_compute_is_not_counted_several_times() -> None:
    lived = Lived(1.0, 100.0, 5.0)

    assert lived.until(104.0, 21.0) == 4.0
