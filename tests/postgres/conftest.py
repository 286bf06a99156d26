"""The server and the databases of the suite of all stores."""

from tests.conformance.conftest import database as database
from tests.conformance.conftest import emptied as emptied
from tests.conformance.conftest import janitor as janitor
from tests.conformance.conftest import server as server
from tests.engine.conftest import pytest_pyfunc_call as pytest_pyfunc_call
