"""A database with a run of each kind, which the fuzzers of pages and commands only read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.stores.base import Store
from perdure.stores.open import open_store
from tests.fuzz.effort import LONG
from tests.unit.cli import corpus


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="session")
def store(folder: Path) -> Iterator[Store]:
    store = open_store(f"sqlite:///{folder / 'runs.db'}")
    store.admin.try_own(corpus.MEMBER.host, corpus.MEMBER.pid, corpus.MEMBER.build, corpus.NOW)
    corpus.fill(store)
    yield store
    store.admin.close()


@pytest.fixture(autouse=True, scope="module")
def _same_cases_whatever_is_imported() -> Iterator[None]:
    """Hypothesis draws constants from the source of whatever modules are loaded: so the same seed would give other cases
    whenever anything changes anywhere. Not where the same cases are wanted."""
    from hypothesis.internal.conjecture import providers

    provider: Any = providers.HypothesisProvider
    if LONG or not hasattr(provider, "_local_constants"):
        yield
        return
    nothing = type(providers._local_constants)()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provider, "_local_constants", property(lambda self: nothing))
        providers.CONSTANTS_CACHE.cache.clear()
        yield
    providers.CONSTANTS_CACHE.cache.clear()
