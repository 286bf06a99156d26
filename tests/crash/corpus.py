"""All that is killed, in one place."""

from tests.crash import further, scenarios
from tests.crash.scenarios import AT_MOST_ONCE, SPAWNING, STORM

ALL = list({id(each): each for each in (*scenarios.ALL, *further.ALL)}.values())

SCENARIOS = {**scenarios.SCENARIOS, **further.SCENARIOS}
"""Killed at each of their crash points, and at pairs of these."""

NAMED = {**SCENARIOS, **SPAWNING, "storm": STORM, "at most once": AT_MOST_ONCE}
