"""Addresses of servers: whatever a password is made of, it is not shown."""

import pytest

from perdure import errors
from perdure.stores.addresses import is_clear, shown

pytest.importorskip("psycopg")
from perdure.stores.postgres.place import Place

CLEAR = {
    "postgresql://u:geheim@h:5432/db": "postgresql://u@h:5432/db",
    "postgresql://u:geheim#:x@h/db": "postgresql://u@h/db",
    "postgresql://u:geheim%40x@h/db?connect_timeout=3": "postgresql://u@h/db?connect_timeout=3",
    "postgresql://:geheim@h/db": "postgresql://@h/db",
    "postgresql://h/db?user=u@cloud&sslpassword=geheim&port=7": "postgresql://h/db?user=u@cloud&port=7",
    "postgresql://u@h1:1,[::1]:2/db?password=geheim@x": "postgresql://u@h1:1,[::1]:2/db",
    "postgresql:///db": "postgresql:///db",
    "postgresql://u@%2Ftmp%2Fx/db?options=-c%20a%3Db": "postgresql://u@%2Ftmp%2Fx/db?options=-c%20a%3Db",
}

DOUBTFUL = [
    "postgresql://u:geheim@geheim@h/db",
    "postgresql://u:geheim/geheim@h/db",
    "postgresql://u:12/geheim@h/db",
    "postgresql://u:geheim?geheim@h/db",
    "postgresql://u:12?port=geheim@h/db",
    "postgresql://u:12/x?port=geheim@h/db",
    "postgresql://u/geheim:geheim@h/db",
    "postgresql://h/db?pass%77ord=geheim",
    "postgresql://h/db?PASSWORD=geheim&&",
]


@pytest.mark.parametrize("address", CLEAR)
def test_a_clear_address_is_shown_without_its_passwords(address: str) -> None:
    assert is_clear(address)
    assert shown(address) == CLEAR[address]
    assert Place(address).address == address


@pytest.mark.parametrize("address", DOUBTFUL)
def test_an_address_that_may_be_read_otherwise_is_refused_and_none_of_its_password_is_shown(address: str) -> None:
    assert not is_clear(address)
    with pytest.raises(errors.StoreUnreachable, match="can be read in more than one way") as caught:
        Place(address)
    assert "geheim" not in str(caught.value) + shown(address)


@pytest.mark.parametrize("address", ["postgresql://u:geheim%zz@h/db", "postgresql://h/db?sslpassword=geheim%zz"])
def test_what_the_driver_says_of_a_password_is_not_shown(address: str) -> None:
    with pytest.raises(errors.StoreUnreachable, match="is no address of a PostgreSQL database") as caught:
        Place(address)
    assert "geheim" not in str(caught.value)


def test_what_is_no_address_at_all_is_shown_without_its_password() -> None:
    assert "geheim" not in shown("host=h password=geheim dbname=x") + shown("host=h password = 'geheim x'")


@pytest.mark.parametrize(
    ("option", "advice"),
    [
        ("ssl=require", "what other drivers call ssl=require is sslmode=require here"),
        ("pool_size=5", "leave out pool_size: behind the question mark are the parameters of libpq, such as sslmode"),
    ],
)
def test_what_other_libraries_take_in_an_address_is_told_apart(option: str, advice: str) -> None:
    with pytest.raises(errors.StoreUnreachable, match=advice):
        Place(f"postgresql://h/db?{option}")


@pytest.mark.parametrize(
    ("option", "value"), [("connect_timeout", "77"), ("application_name", "shop"), ("keepalives_idle", "3")]
)
def test_what_an_address_says_of_its_connections_stays(
    option: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert option not in Place(f"postgresql://h/db?{option}={value}").parameters("perdure")
    assert option in Place("postgresql://h/db").parameters("perdure")


def test_what_the_environment_says_of_connections_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGAPPNAME", "shop")
    assert "application_name" not in Place("postgresql://h/db").parameters("perdure")
    assert Place("postgresql://h/db?client_encoding=LATIN1").parameters("perdure")["client_encoding"] == "UTF8"
