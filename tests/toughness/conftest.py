"""A server of their own, which these tests may stop and kill."""

import itertools

import pytest

from tests.conformance.conftest import server as server
from tests.postgres.server import Server

_numbers = itertools.count(1)


@pytest.fixture
def database(server: Server) -> str:
    """The name of a new one."""
    name = f"tough_{next(_numbers)}"
    server.ask(f"CREATE DATABASE {name}")
    return name
