"""The server and the databases of the suite of all stores."""

from tests.conformance.conftest import database as database
from tests.conformance.conftest import server as server
