"""Ids in addresses: any id has a page, and finds its way back."""

import string
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.web import addresses

HARD = [".", "..", "...", "~", "~~", "~.", "a/b", "a//b", "/", "a?b", "a#b", "a%2Fb", "a.json", ".json", "events", "ü ß",
        "a&b=c", "a;b", "<script>", '"', "'", "\\", "a:b", "日本", "%", "+", "live"]  # fmt: skip


@pytest.mark.parametrize("id", HARD)
def test_a_hard_id_is_one_segment_and_comes_back(id: str) -> None:
    segment = addresses.segment(id)

    assert addresses.id_of(segment) == id
    assert set(segment) <= set(string.ascii_letters + string.digits + "-._~%")
    assert segment not in (".", "..")
    assert not segment.endswith(".json")


@given(st.text(min_size=1, max_size=40).filter(str.isprintable))
def test_every_id_comes_back(id: str) -> None:
    assert addresses.id_of(addresses.segment(id)) == id


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_two_ids_have_two_segments(one: str, other: str) -> None:
    assert (addresses.segment(one) == addresses.segment(other)) == (one == other)


def test_what_is_asked_of_a_page_is_in_its_query() -> None:
    path = addresses.run_path("a/b", step="0:2", crowd=None)

    assert path == "/runs/a%2Fb?step=0%3A2"
    assert urlsplit(addresses.as_json(path)).path == "/runs/a%2Fb.json"


def test_a_list_says_only_what_it_was_asked() -> None:
    assert addresses.list_path(state=("failed", "held"), workflow="", id=None) == "/runs?state=failed%2Cheld"
