"""Whether this machine has PostgreSQL."""

import pytest

from tests.postgres.server import Missing, programs


def demand_postgres() -> None:
    """Skip the test where there is none."""
    try:
        programs()
    except Missing as missing:
        pytest.skip(str(missing))
