"""A database that an application shares with its runs: one of PostgreSQL, or a file of SQLite."""

from tests.conformance.conftest import database as database
from tests.conformance.conftest import server as server
