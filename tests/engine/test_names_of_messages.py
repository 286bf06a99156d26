"""What engines publish of messages, and what clients without code make of it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import Client, Engine, InvalidArguments, channel, wait_until, workflow
from perdure.client.known import heard_by
from perdure.errors import UnknownMessage

values = channel("value")


@workflow(aliases=["OldCart"])
class Cart:
    def __init__(self) -> None:
        self.items: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await wait_until(lambda: len(self.items) > 9)
        return self.items

    @workflow.update
    def add(self, item: str, count: int = 1, *, gift: bool = False) -> list[str]:
        self.items += [f"{item}{'*' if gift else ''}"] * count
        return self.items


@workflow
async def makes_a_channel() -> str:
    late = channel("made late", str)
    return await late.receive() + str(len(values))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Without code, beside an engine that has told what it knows."""
    address = f"sqlite:///{tmp_path / 'runs.db'}"
    with Engine(address, [Cart, makes_a_channel]), Client(address) as client:
        end = time.monotonic() + 300
        while not client.store.views.definitions() and time.monotonic() < end:
            time.sleep(0.01)
        client.start("Cart", id="cart").wait()
        client.start("makes_a_channel", id="late").wait()
        yield client


def test_arguments_by_position_and_by_name_are_put_in_order_without_code(client: Client) -> None:
    cart = client.handle("cart")

    assert cart.update("add", "pen", count=2).wait() == ["pen", "pen"]
    assert cart.update("add", "ink", gift=True).wait() == ["pen", "pen", "ink*"]


def test_a_name_that_no_parameter_has_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(InvalidArguments, match="there is no parameter cuont; did you mean count"):
        client.handle("cart").update("add", "pen", cuont=2).wait()


def test_a_channel_that_is_made_while_the_run_goes_on_is_heard_though_nobody_has_published_it(client: Client) -> None:
    heard = heard_by(client.store.views.definitions(), "makes_a_channel")
    assert heard is not None and heard.names("signal") == ["value"]

    client.handle("late").signal("made late", "yes").wait()

    assert client.handle("late").result().wait() == "yes0"


def test_a_name_that_nobody_hears_is_refused_by_the_engine(client: Client) -> None:
    with pytest.raises(UnknownMessage, match="hears no update 'ad'; it hears add"):
        client.handle("cart").update("ad", "pen").wait()


def test_what_an_alias_hears_is_not_published_and_works_all_the_same(client: Client) -> None:
    assert heard_by(client.store.views.definitions(), "OldCart") is None
    client.start("OldCart", id="old").wait()

    assert client.handle("old").update("add", "pen").wait() == ["pen"]
