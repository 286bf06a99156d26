"""JSON for scripts."""

import pytest

from perdure.cli.output import fields, selected
from perdure.cli.problems import USAGE, Problem

RECORD = {"id": "etl", "status": "failed", "error": {"type": "ValueError", "message": "x"}}


def test_all_fields_without_a_selection() -> None:
    assert fields("*", ["id"]) is None
    assert selected(RECORD, None) is RECORD


def test_fields_are_selected_by_path_in_the_order_asked_for() -> None:
    assert selected(RECORD, ["error.type", "id"]) == {"error": {"type": "ValueError"}, "id": "etl"}


def test_status_may_be_called_state_as_lists_call_it() -> None:
    assert selected(RECORD, fields("id,state", ["id", "status"])) == {"id": "etl", "state": "failed"}


def test_a_path_that_leads_nowhere_is_null() -> None:
    assert selected(RECORD, ["error.cause.type"]) == {"error": {"cause": {"type": None}}}


def test_a_path_goes_through_each_item_of_a_list() -> None:
    record = {"steps": [{"name": "a", "state": "failed", "id": "0:1"}, {"name": "b", "state": "held", "id": "0:2"}]}

    assert selected(record, ["steps.name", "steps.state"]) == {
        "steps": [{"name": "a", "state": "failed"}, {"name": "b", "state": "held"}]
    }


def test_an_unknown_field_is_refused_with_those_that_exist() -> None:
    with pytest.raises(Problem, match="there is no field 'stauts'") as raised:
        fields("stauts", ["id", "status"])

    assert (raised.value.exit, raised.value.hint) == (USAGE, "did you mean  --json=status")
    assert raised.value.facts == ["fields: id, status"]
