"""A server that these tests may stop and kill."""

import itertools
from collections.abc import Iterator

import pytest

from perdure.stores.postgres.schema import migrate
from tests.postgres.server import Missing, Server

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    try:
        made = Server()
    except Missing as missing:
        pytest.skip(str(missing))
    with made as server:
        migrate(server.address("template1"))
        yield server


@pytest.fixture
def database(server: Server) -> str:
    """The name of a new one."""
    name = f"tough_{next(_numbers)}"
    server.ask(f"CREATE DATABASE {name}")
    return name
