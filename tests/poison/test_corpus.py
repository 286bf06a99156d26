"""Each poison beside healthy neighbours in one engine: they keep their pace, and a reader is told what was bad."""

import asyncio
import gc
from typing import Any

import pytest

from tests.poison import beside, corpus
from tests.poison.beside import FEW_COMMITS, beside_neighbours
from tests.poison.corpus import ALL, POISONS

pytestmark = pytest.mark.filterwarnings(
    "ignore:.* in a workflow:", "ignore:call of activity", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def _future_of_another_loop() -> Any:
    loop = asyncio.new_event_loop()
    corpus.foreign[:] = [loop.create_future()]
    yield
    loop.close()
    if corpus.left_over():
        gc.collect()  # here, and not in the test that comes next


@pytest.mark.parametrize("what", ["a look at each line", "a look at each call"])
async def test_only_the_code_of_the_run_is_seen_by(what: str):
    corpus.watched.clear()
    await beside_neighbours(POISONS[what].call(), ALL)

    assert [place for place in set(corpus.watched) if "/runtime/" in place or place == beside.__file__] == []
    assert len(corpus.watched) > 0


@pytest.mark.parametrize("what", POISONS)
async def test_neighbours_keep_their_pace_beside(what: str):
    poison = POISONS[what]
    seen = await beside_neighbours(
        poison.call(),
        ALL,
        goes_on=poison.ends == "goes on",
        stuck_after=poison.patience,
    )

    assert seen.commits <= FEW_COMMITS
    assert seen.entered <= poison.enters
    if poison.ends is None:
        assert not isinstance(seen.outcome, BaseException)
    elif poison.ends == "goes on":
        assert seen.status in ("waiting", "running")
    else:
        assert isinstance(seen.outcome, poison.ends)
        assert str(seen.outcome).startswith("run 'poison' ")
        assert [word for word in poison.words if word not in str(seen.outcome)] == []
