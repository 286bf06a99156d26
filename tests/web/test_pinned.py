"""A run that waits for the build it is pinned to, in the list and on its page."""

from pathlib import Path

import pytest

from perdure import Engine, RunBlocked, activity, sleep, workflow
from perdure.stores.open import open_store
from tests.engine.clocks import Later
from tests.web.conftest import Web
from tests.web.test_run_page import part, text


@activity
async def step() -> None: ...


@workflow(versioning="pinned")
async def order() -> None:
    await sleep(3600)
    await step()


def test_a_run_that_waits_for_its_build_says_so_and_how_it_is_moved(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/runs.db"
    with Engine(address, [order, step], build="monday") as engine:
        engine.start(order(), id="o").wait()
    with Engine(address, [order, step], build="tuesday", world=Later()) as engine, pytest.raises(RunBlocked):
        engine.handle("o").result().wait()
    store = open_store(address)
    web = Web(store)
    listed, page = text(web.get("/runs").text), web.get("/runs/o").text
    store.admin.close()

    assert "waits for build monday" in listed
    assert "Pinned to build monday" in part(page, "head")
    assert "Blocked · pinned" in part(page, "now")
    assert "perdure move o" in part(page, "now")
