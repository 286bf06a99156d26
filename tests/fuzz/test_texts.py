"""What people type, on a command line, in an address, in a setting: it means something, or is refused in words."""

import math
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perdure.attributes import attributes_of
from perdure.cli import arguments, attributes, times
from perdure.cli.database import find
from perdure.cli.options import Settings
from perdure.cli.problems import Problem
from perdure.client.conditions import condition_of, conditions_in
from perdure.durations import duration_ns
from perdure.errors import DefinitionError, PerdureError, TokenRefused
from perdure.kernel.attributes import fits
from perdure.kernel.wire import encode
from perdure.runtime.tokens import Named, named_by, token_of
from perdure.web import addresses
from tests.fuzz.effort import fuzz, mutated, odd_texts

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
durations = st.one_of(
    odd_texts,
    st.from_regex(r"([0-9]{0,30}(\.[0-9]{0,5})? ?(ns|us|ms|s|m|h|d|w|days|sec| ){0,2}){0,4}", fullmatch=True),
)
conditions = st.one_of(
    odd_texts,
    st.from_regex(
        r"[a-z]{0,3} ?(=|<|>|<=|>=|==) ?([0-9.,eE+-]{0,12}|2026-1[0-9]-[0-9]{2}(T[0-9:.]{0,9}Z)?|[a-z.,]{0,8})",
        fullmatch=True,
    ),
)


@given(st.one_of(durations, st.floats(), st.integers(), st.timedeltas(), st.none(), st.binary(), st.booleans()))
@example("9" * 400 + "s")
@example(10**400)
@example(-(10**5000))
@fuzz(200)
def test_a_duration_is_a_number_of_nanoseconds_or_refused(given: Any) -> None:
    try:
        ns = duration_ns(given)
    except DefinitionError as refused:
        assert len(str(refused)) < 1_500
        return
    assert isinstance(ns, int) and ns >= 0


@given(st.lists(conditions, max_size=3))
@example(["a=" + "9" * 400])
@example(["a=1e999"])
@example(["a=0001-01-01T00:00+14:00"])
@example(["a=9999-12-31T23:59:59-14:00"])
@fuzz(200)
def test_a_condition_is_understood_or_refused(texts: list[str]) -> None:
    try:
        wanted = conditions_in(texts, "fuzz")
    except DefinitionError as refused:
        assert len(str(refused)) < 2_000
        return
    encode(wanted)


@given(st.one_of(odd_texts, st.integers(), st.floats(), st.booleans(), st.datetimes(timezones=st.just(UTC))))
@fuzz(200)
def test_what_one_types_to_find_the_same_finds_it(value: Any) -> None:
    text = condition_of("name", value)

    if text is not None:
        (attribute,) = attributes_of({"name": value}, "fuzz")
        (wanted,) = conditions_in((text,), "fuzz")
        assert fits(wanted, attribute)


@given(
    st.dictionaries(
        odd_texts,
        st.one_of(odd_texts, st.integers(), st.floats(), st.lists(odd_texts, max_size=3), st.none()),
        max_size=3,
    )
)
@fuzz(100)
def test_attributes_are_taken_or_refused(given: dict[str, Any]) -> None:
    try:
        encode(attributes_of(given, "fuzz"))
    except DefinitionError as refused:
        assert len(str(refused)) < 2_000


TYPED: dict[str, Callable[[str], Any]] = {
    "--attr of a start": lambda text: attributes.given((f"a={text}",)),
    "--attr of a list": lambda text: attributes.conditions((f"a={text}",)),
    "--input": lambda text: arguments.json_given(text, "--input") if text[:1] not in "@-" else None,
    "--arg": lambda text: arguments.named_values([f"a={text}"], "--arg"),
    "--since": lambda text: times.since(text, NOW),
    "a duration": times.seconds,
}


@pytest.mark.parametrize("option", TYPED)
@given(st.one_of(odd_texts, conditions, durations))
@example("[" * 100_000)
@example("9" * 5_000)
@example('{"a":' * 20_000)
@fuzz(60)
def test_an_option_is_understood_or_is_a_problem(option: str, text: str) -> None:
    try:
        found = TYPED[option](text)
        assert option != "a duration" or found is None or math.isfinite(found)
    except (Problem, PerdureError) as refused:
        assert len(str(refused)) < 3_000 or len(text) > 1_000


@given(odd_texts)
@fuzz(100)
def test_a_setting_names_a_database_or_is_a_problem(text: str) -> None:
    if "\0" in text or any(0xD800 <= ord(each) < 0xE000 for each in text) or not text:
        return  # no environment can hold it
    settings = Settings(lambda: NOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERDURE_DB", text)
        try:
            found = find(settings)
        except Problem:
            return
    assert "://" in found.address


@given(mutated(st.sampled_from([b'db = "sqlite:///a.db"\n', b'[tool.perdure]\ndb = "b.db"\n'])))
@fuzz(60)
def test_a_file_of_settings_names_a_database_or_is_a_problem(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.delenv("PERDURE_DB", raising=False)
        patch.chdir(folder)
        Path("perdure.toml").write_bytes(data)
        try:
            find(Settings(lambda: NOW))
        except Problem:
            return
        tomllib.loads(data.decode())


@given(odd_texts)
@example("~")
@example("..")
@example("~..")
@example("a.json")
@example("%2e")
@fuzz(100)
def test_an_id_comes_back_from_the_address_of_its_page(id: str) -> None:
    if not id or any(0xD800 <= ord(each) < 0xE000 for each in id):
        return  # no run has it
    segment = addresses.segment(id)

    assert addresses.id_of(segment) == id
    assert segment.isascii() and segment.isprintable()
    assert not set(segment) & set("/?# ") and segment not in (".", "..") and not segment.endswith(".json")


GOOD = token_of(b"secret" * 4, Named(5, b"r" * 16, "0:1", 2))


@given(
    st.one_of(
        odd_texts, mutated(st.just(GOOD.encode())).map(lambda data: data.decode("latin-1")), st.none(), st.integers()
    )
)
@fuzz(200)
def test_no_token_but_the_one_that_was_issued_is_taken(token: Any) -> None:
    if token == GOOD:
        return
    with pytest.raises(TokenRefused) as refused:
        named_by(b"secret" * 4, token)

    assert len(str(refused.value)) < 400
    assert GOOD not in str(refused.value)
