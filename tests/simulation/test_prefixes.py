"""Every prefix of the histories of lives gives the same commands, to the byte, in a process whose sets have another order."""

import itertools

import msgspec
import pytest
from pytest import MonkeyPatch

from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.testing.simulation.batches import PREFIXES_EACH, Tally, by_turns, lived
from perdure.testing.simulation.life import simulate
from perdure.testing.simulation.plan import plan_of
from perdure.testing.simulation.prefixes import Recorded, answered, answers_of, elsewhere
from tests.simulation.mutants import commands_come_in_the_order_of_a_set
from tests.simulation.seeds import seed_of_this_code

LIVES = 36
PLANTED = """
from pytest import MonkeyPatch
from perdure.testing.simulation.prefixes import main
from tests.simulation.mutants import commands_come_in_the_order_of_a_set

commands_come_in_the_order_of_a_set(MonkeyPatch())
main()
"""


def some_lives() -> Tally:
    """Lives that nobody has seen before with this code, of all workloads, with several owners and in files, too."""
    return lived(list(itertools.islice(by_turns(seed_of_this_code()), 0, LIVES * PREFIXES_EACH, PREFIXES_EACH)))


def test_another_process_with_other_hashes_gives_the_same_commands_after_each_prefix() -> None:
    tally = some_lives()
    histories = len(tally.told)

    tally.ask_elsewhere()

    assert [f"{each.life}: {each.violation}" for each in tally.broken] == []
    assert tally.prefixes > histories >= LIVES
    assert tally.told == []


def test_that_commands_come_in_the_order_of_a_set_shows_only_there(monkeypatch: MonkeyPatch) -> None:
    commands_come_in_the_order_of_a_set(monkeypatch)
    found = [simulate(plan_of(seed, "fan-out")) for seed in range(5)]
    told, wrong = answered(history for life in found for history in life.histories)

    differences = elsewhere(told, program=PLANTED)

    assert [life.violation for life in found] == [""] * 5
    assert wrong == []
    assert any("with other hashes the answer to prefix 1 is" in each for each in differences)


def test_a_prefix_that_the_code_answers_otherwise_is_told() -> None:
    recorded = next(each for seed in range(20) for each in simulate(plan_of(seed, "fan-out")).histories)
    history = wire.decode_history(recorded.parts)
    step = next(n for n, event in enumerate(history) if type(event) is ev.ActivityScheduled)
    history[step] = msgspec.structs.replace(history[step], name="toil")

    answers, wrong = answers_of(Recorded(recorded.id, recorded.code, [wire.encode([each]) for each in history]))

    assert len(answers) == 1
    assert "up to event" in wrong
    assert "recorded activity toil [" in wrong


@pytest.mark.parametrize("seed", range(40))
def test_where_code_has_changed_only_a_new_way_may_be_another_one(seed: int) -> None:
    found = simulate(plan_of(seed, "deploys"))

    assert found.violation == ""
    assert answered(found.histories)[1] == []
