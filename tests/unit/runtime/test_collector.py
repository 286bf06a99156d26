"""The collector's thresholds are the process's, and only lent."""

import gc
from collections.abc import Iterator

import pytest

from perdure.runtime import collector

DEFAULT = (700, 10, 10)


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*DEFAULT)
    yield
    gc.set_threshold(*before)


def test_the_defaults_are_relaxed_and_come_back():
    collector.relax()
    relaxed = gc.get_threshold()
    collector.restore()

    assert (relaxed, gc.get_threshold()) == (collector.RELAXED, DEFAULT)


def test_with_several_engines_the_last_one_gives_them_back():
    collector.relax()
    collector.relax()
    collector.restore()
    between = gc.get_threshold()
    collector.restore()

    assert (between, gc.get_threshold()) == (collector.RELAXED, DEFAULT)


@pytest.mark.parametrize("theirs", [(50_000, 20, 100), (100, 10, 10), (0, 0, 0)])
def test_thresholds_somebody_has_chosen_are_left_alone(theirs: tuple[int, int, int]):
    gc.set_threshold(*theirs)

    collector.relax()
    meanwhile = gc.get_threshold()
    collector.restore()

    assert (meanwhile, gc.get_threshold()) == (theirs, theirs)


def test_thresholds_that_are_set_meanwhile_stay():
    collector.relax()
    gc.set_threshold(5_000, 5, 5)
    collector.restore()

    assert gc.get_threshold() == (5_000, 5, 5)
