"""A simulator that finds nothing may be blind: it has to find each bug that is planted, and soon."""

import pytest

from tests.simulation.mutants import MUTANTS, lives_until_found


@pytest.mark.parametrize("wrong", MUTANTS)
def test_a_planted_bug_is_found(wrong: str) -> None:
    assert lives_until_found(wrong) is not None
