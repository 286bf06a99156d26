"""Every history any supported Python has recorded replays on the one that runs the tests."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perdure.kernel.events import TERMINAL, HistoryEvent
from perdure.kernel.program import replay
from tests.histories.corpus import ACTIVITIES, WORKFLOWS
from tests.unit.languages.python.workflow_driver import Driver

HERE = Path(__file__).parent
RECORDINGS = {path.stem: json.loads(path.read_text()) for path in sorted(HERE.glob("python-*.json"))}
BY_NAME = {definition.name: definition for definition in WORKFLOWS}


def drivers(key: str) -> Any:
    return Driver(BY_NAME[key.split("/")[0]], ACTIVITIES)


@pytest.mark.parametrize("python", ["python-3.11", "python-3.12", "python-3.13"])
@pytest.mark.parametrize("name", list(BY_NAME))
def test_a_recorded_history_replays(name: str, python: str) -> None:
    for key, recorded in RECORDINGS[python].items():
        if key.split("/")[0] != name:
            continue
        driver = drivers(key)
        driver.history = msgspec.convert(recorded, list[HistoryEvent])

        rest = replay(driver.load(), driver.history)

        assert list(rest) == []
        assert type(driver.history[-1]) in TERMINAL


def test_all_pythons_recorded_the_same_commands() -> None:
    first, *others = RECORDINGS.values()

    assert len(RECORDINGS) == 3
    assert all(other == first for other in others)


def test_every_workflow_of_the_corpus_is_recorded() -> None:
    for python, recorded in RECORDINGS.items():
        assert {key.split("/")[0] for key in recorded} == set(BY_NAME), f"run tests/histories/record.py on {python}"
