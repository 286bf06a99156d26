"""Lives that nobody has seen before with this code. On failure the lives are named."""

import itertools
import os
import sys

from perdure.testing.simulation.batches import by_turns, live_for
from tests.simulation.seeds import seed_of_this_code

SECONDS = 3_600.0 if "PERDURE_SOAK" in os.environ else 120.0
"""Of lives; `make soak` takes longer."""
LIVES = sys.maxsize if "PERDURE_SOAK" in os.environ else 700
"""At most: what fits into the time on most machines, which are the same lives everywhere then."""


def test_fresh_lives_keep_every_promise() -> None:
    lives = itertools.islice(by_turns(seed_of_this_code()), LIVES)

    tally = live_for(SECONDS, lives, workers=1, told=lambda tally: None)

    assert [f"{each.life}: {each.violation}" for each in tally.broken] == []
    assert tally.lives > 0
