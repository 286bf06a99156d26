"""Tests that are coroutines run on a loop of their own, and not for ever."""

import asyncio
import inspect

import pytest

from tests.conformance.conftest import database as database
from tests.conformance.conftest import server as server

SECONDS = 600.0
"""Only what hangs takes so long, on however busy a machine."""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**arguments), SECONDS))
    return True
