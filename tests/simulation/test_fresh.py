"""Lives that nobody has seen before: each run of the tests looks somewhere else. On failure the lives are named."""

import os
import secrets

from perdure.testing.simulation.batches import by_turns, live_for

SECONDS = 3_600.0 if "PERDURE_SOAK" in os.environ else 45.0
"""Of lives; `make soak` takes longer."""


def test_fresh_lives_keep_every_promise() -> None:
    lives = by_turns(secrets.randbelow(10**9))

    tally = live_for(SECONDS, lives, workers=1, told=lambda tally: None)

    assert [f"{each.life}: {each.violation}" for each in tally.broken] == []
    assert tally.lives > 0
