"""Tests that are coroutines run on a loop of their own."""

from tests.engine.conftest import pytest_pyfunc_call as pytest_pyfunc_call
