"""A function that is renamed, or moved, keeps what is recorded under the name it had."""

import re
from pathlib import Path
from typing import Any

import pytest

from perdure import Client, DefinitionError, Engine, RunBlocked, Worker, activity, sleep, workflow
from perdure.workflows import definitions_of
from tests.engine.clocks import Later

done: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runs.db"


def under_old_names() -> list[Any]:
    @activity
    async def pay(amount: int) -> int:
        done.append("pay")
        return amount

    @activity(queue="post")
    async def send(to: str) -> None: ...

    @workflow
    async def order(pause: float) -> int:
        paid = await pay(7)
        await sleep(pause)
        await send("ada")
        return paid

    return [order, pay, send]


def under_new_names() -> list[Any]:
    @activity(aliases=["pay"])
    async def charge(amount: int) -> int:
        done.append("charge")
        return amount

    @activity(queue="post", aliases=("send",))
    async def mail(to: str) -> None:
        done.append("mail")

    @workflow(aliases=("order",))
    async def process_order(pause: float) -> int:
        paid = await charge(7)
        await sleep(pause)
        await mail("ada")
        return paid

    return [process_order, charge, mail]


def left_asleep(address: str) -> None:
    old = under_old_names()
    with Engine(address, old) as engine:
        engine.start(old[0](3600), id="o").wait()
        while engine.handle("o").describe().wait().status != "waiting":
            pass


def test_an_open_run_and_its_tasks_go_on_under_the_names_their_functions_have_now(address: str):
    left_asleep(address)
    new = under_new_names()
    with Engine(address, new, queues=["post"], world=Later()) as engine:
        result = engine.handle("o").result().wait()

    assert result == 7
    assert done == ["pay", "mail"]


def test_a_task_that_was_queued_under_the_old_name_is_taken_by_a_worker_with_the_new_one(address: str):
    old = under_old_names()
    with Engine(address, old) as engine:
        engine.start(old[0](0), id="o").wait()
        while engine.handle("o").describe().wait().steps[-1].name != "send":
            pass
    new = under_new_names()
    with Engine(address, new) as engine, Worker(address, new, queues=["post"]):
        assert engine.handle("o").result().wait() == 7

    assert done == ["pay", "mail"]


def test_a_start_by_the_old_name_is_of_the_new_workflow(address: str):
    new = under_new_names()
    with Engine(address, new, queues=["post"]) as engine:
        engine.run("order", [0], id="a").wait()
        again = engine.start(new[0](0), id="a").wait()
        description = engine.handle("a").describe().wait()
        with Client(address) as client:
            client.start("order", [0], id="b").wait()
            client.handle("b").result().wait()
            assert client.handle("b").describe().wait().workflow == "process_order"

    assert description.workflow == "process_order"
    assert again.run_id == description.run_id


def test_without_the_alias_the_run_is_blocked_and_told_what_to_add(address: str):
    left_asleep(address)
    new = under_new_names()
    with (
        Engine(address, [new[1], new[2]], queues=["post"], world=Later()) as engine,
        pytest.raises(RunBlocked) as blocked,
    ):
        engine.handle("o").result().wait()

    assert "was not given the workflow 'order'" in str(blocked.value)
    assert 'aliases=["order"]' in str(blocked.value)


def first() -> Any:
    @activity(aliases=["pay"])
    async def charge() -> None: ...

    return charge


def second() -> Any:
    @activity(name="pay")
    async def pay() -> None: ...

    return pay


def third() -> Any:
    @activity(aliases=["pay"])
    async def bill() -> None: ...

    return bill


@pytest.mark.parametrize(
    ("definitions", "words"),
    [
        ((first, second), "the activity 'pay' at {1} has a name that 'charge' at {0} has for an alias"),
        ((second, first), "the activity 'pay' at {0} has a name that 'charge' at {1} has for an alias"),
        ((first, third), "two activities were called 'pay' before: charge at {0} and bill at {1}"),
        ((second, second), "two activities are called 'pay': at {0} and at {1}"),
    ],
)
def test_two_definitions_that_want_one_name_are_both_named(definitions: Any, words: str):
    made = [make() for make in definitions]

    with pytest.raises(DefinitionError, match=re.escape(words.format(*(each.source for each in made)))):
        definitions_of(made)


@pytest.mark.parametrize(
    ("aliases", "words"),
    [("old", "aliases is a list of names, not 'old'"), ([""], "a text, not ''"), ([5], "a text, not 5")],
)
@pytest.mark.parametrize("mark", [activity, workflow])
def test_aliases_are_texts_in_a_list(mark: Any, aliases: Any, words: str):
    async def renamed() -> None: ...

    with pytest.raises(DefinitionError, match=re.escape(words)):
        mark(aliases=aliases)(renamed)


def test_a_definition_with_aliases_is_published_once():
    new = under_new_names()
    with Engine("memory://", new) as engine:
        engine.start(new[0](3600), id="o").wait()  # what it knows is told before anything is begun
        published = [(row.kind, row.name) for row in engine.store.views.definitions()]

    assert sorted(published) == [("activity", "charge"), ("activity", "mail"), ("workflow", "process_order")]
