"""What a run's page shows of messages, published values, and the run's relatives."""

import re
from collections.abc import Callable

import msgspec
import pytest

from perdure.kernel import events as ev
from perdure.kernel.terms import Parent, RunTerms
from perdure.stores.base import DefinitionRow, Store
from tests.unit.cli import corpus
from tests.web.conftest import Looked, Web
from tests.web.test_browser import unread
from tests.web.test_hostile import EVIL, Tags

PATHS = ("/runs/loan-7", "/runs/loan-7/messages", "/runs/batch-3", "/runs/batch-3?step=0:1")


@pytest.fixture
def spoken(empty: Store) -> Store:
    """Runs that were spoken to, with children, and with what their workflow hears."""
    for story in (corpus.talking(), corpus.parental()):
        story.write(empty)
    shape = {"names": [], "required": 0, "schema": {"type": "object", "properties": {}, "required": []}}
    rows = [DefinitionRow("workflow", "Loan", msgspec.json.encode(shape))]
    for name in ("decide", "note"):
        parts = {"workflow": "Loan", "message": name, **shape}
        rows.append(DefinitionRow("signal", f"Loan.{name}", msgspec.json.encode(parts)))
    empty.admin.publish(rows)
    return empty


def words(page: str) -> str:
    """What a page says, without its tags."""
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_each_name_of_messages_has_a_row_of_marks(spoken: Store) -> None:
    page = Web(spoken).get("/runs/loan-7").text

    assert page.count('<svg class="m-ok"') == 4  # three notes, one answer
    assert (page.count('<svg class="m-fail"'), page.count('<svg class="m-run"')) == (1, 1)
    assert 'class="b-say-ok"' in page and re.search(r'class="b-say-run"[^>]* data-open', page)
    assert "update, 1 failed, 1 accepted" in words(page)


def test_the_messages_have_a_page_with_what_became_of_each(spoken: Store) -> None:
    said = words(Web(spoken).get("/runs/loan-7/messages").text)

    assert "1 to 7 of 7 messages" in said
    assert "completed after 8.0s raise_by 50 → 150" in said
    assert "TooLow: 9 is less than 150" in said
    assert "in the mail decide" in said


def test_the_data_of_that_page(spoken: Store) -> None:
    told = Web(spoken).get("/runs/loan-7/messages.json").json()

    assert (told["total"], told["next"]) == (7, None)
    assert [each["state"] for each in told["messages"]].count("received") == 3
    assert told["messages"][2]["result"] == 150


def test_an_update_without_an_answer_of_a_run_that_has_ended(empty: Store) -> None:
    story = corpus.talking()
    story.tell(290, ev.RunCompleted(story.ns(290), corpus.payload("done")))
    story.mail = []
    story.write(empty)

    assert "no answer set_limit" in words(Web(empty).get("/runs/loan-7/messages").text)
    assert "data-open" not in Web(empty).get("/runs/loan-7").text


def test_a_run_that_waits_for_a_message_says_for_which(spoken: Store) -> None:
    said = words(Web(spoken).get("/runs/loan-7").text)

    assert "Waits for a message decide, note nothing else moves it $ perdure signal loan-7 NAME" in said
    assert "Works on an update · 1m40s set_limit" in said
    assert "waits for a message" in words(Web(spoken).get("/runs").text)


def test_what_is_published_stands_beside_the_timeline(spoken: Store) -> None:
    said = words(Web(spoken).get("/runs/loan-7").text)

    assert re.search(r"Published 2 stage &#34;waiting for a decision&#34; .* progress 0\.4 ", said)


def test_a_run_that_was_told_nothing_has_no_such_page_among_its_tabs(spoken: Store) -> None:
    web = Web(spoken)

    assert "Messages" not in words(web.get("/runs/batch-3").text)
    assert "no messages" in words(web.get("/runs/batch-3/messages").text)


def test_children_are_linked_from_the_list_beside_and_from_their_steps(spoken: Store) -> None:
    web = Web(spoken)
    links = re.findall(r'href="(/runs/batch-3-\d/[0-9a-f]{32})"', web.get("/runs/batch-3").text)

    assert links == [f"/runs/batch-3-{n + 1}/{f'{n:02x}' * 16}" for n in range(3)]
    assert links[0] in web.get("/runs/batch-3?step=0:1").text
    said = words(web.get("/runs/batch-3").text)
    assert "score_one · failed" in said
    assert "Waits for its child · 3m58s score_one batch-3-3 $ perdure show batch-3-3" in said


def test_of_many_children_the_first_are_listed(empty: Store) -> None:
    corpus.parental(children=40).write(empty)

    said = words(Web(empty).get("/runs/batch-3").text)

    assert "Children 40" in said and "and 28 more" in said
    assert "Waits for children · 3m58s 38 × score_one" in said


def test_a_child_leads_to_its_parent_and_its_first_ancestor(empty: Store) -> None:
    child = corpus.Story(2, "child", "score_one", 60)
    begun = ev.RunStarted(
        child.begin, "score_one", corpus.payload([]), b"c" * 16, "",
        RunTerms(parent=Parent(1, "batch-3", b"p" * 16, "0:1", 1, "whole", b"r" * 16, 2)),
    )  # fmt: skip
    child.history.clear()
    child.run = type(child.run)(2, "child")
    child.tell(0, begun)
    child.write(empty)

    page = Web(empty).get("/runs/child").text

    assert f'href="/runs/batch-3/{(b"p" * 16).hex()}">batch-3</a>' in page
    assert f'href="/runs/whole/{(b"r" * 16).hex()}">whole</a>' in page


def test_messages_among_the_events_have_names_and_lead_to_no_step(spoken: Store) -> None:
    page = Web(spoken).get("/runs/loan-7/events").text

    assert re.search(r"UpdateCompleted\s+raise_by\s+result=150", words(page))
    assert page.count("Look at the step") == 4  # of two steps, asked for and done


def hostile(messages: int = 1) -> corpus.Story:
    story = corpus.Story(2, "evil", EVIL, 100, [EVIL])
    for number in range(messages):
        story.tell(1, ev.SignalReceived(story.ns(1), f"{EVIL}{number % 20}", corpus.payload([{EVIL: EVIL}]), EVIL))
    story.tell(2, ev.UpdateAccepted(story.ns(2), EVIL, EVIL, corpus.payload({EVIL: EVIL})))
    story.tell(3, ev.UpdateFailed(story.ns(3), EVIL, ev.Failure(EVIL, EVIL, EVIL)))
    story.tell(3, ev.UpdateAccepted(story.ns(3), f"{EVIL}2", EVIL, corpus.payload(["x" * 60_000])))
    story.tell(4, ev.Published(story.ns(4), story.id(), EVIL, corpus.payload({EVIL: [EVIL]})))
    story.tell(5, ev.ChildScheduled(story.ns(5), story.id(), EVIL, corpus.payload(EVIL), EVIL, b"x" * 16))
    return story


@pytest.mark.parametrize("path", ["/runs/evil", "/runs/evil/messages", "/runs/evil/events", "/runs/evil?step=0:2"])
def test_hostile_names_and_values_stay_text(empty: Store, path: str) -> None:
    hostile().write(empty)
    page = Web(empty).get(path).text

    seen = Tags(page)
    assert "<script>alert" not in page and "onerror" not in seen.attributes
    assert "img" not in seen.tags
    assert len(page) < 200_000


def test_ten_thousand_signals_are_a_row_and_pages(empty: Store) -> None:
    story = corpus.Story(2, "busy", "Loan", 11_000, [1])
    told = [ev.SignalReceived(story.ns(n), f"tick-{n % 12}", corpus.payload([n]), f"id-{n}") for n in range(10_000)]
    story.tell(0, *told)
    story.write(empty)
    web = Web(empty)

    page = web.get("/runs/busy").text

    assert len(page) < 600_000
    assert "messages of 4 more names" in words(page)
    assert "101 to 200 of 10,000 messages" in words(web.get("/runs/busy/messages?from=101").text)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_these_pages_can_be_read_by_everybody(spoken: Store, shows: Callable[..., Looked], theme: str) -> None:
    looked = shows(spoken, color_scheme=theme, bypass_csp=True)

    found = {path: unread(looked.open(path), theme) for path in PATHS}

    assert {path: each for path, each in found.items() if each} == {}


def test_these_pages_are_no_wider_than_their_window(spoken: Store, shows: Callable[..., Looked]) -> None:
    looked = shows(spoken)
    for path in PATHS:
        page = looked.open(path)
        for width in (1440, 800, 390):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)

    assert looked.complaints == []


def test_hostile_messages_give_the_browser_nothing_to_run(empty: Store, shows: Callable[..., Looked]) -> None:
    hostile(300).write(empty)
    looked = shows(empty, viewport={"width": 390, "height": 800})
    for path in ("/runs/evil", "/runs/evil/messages"):
        page = looked.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path

    assert looked.complaints == []


def test_a_message_that_comes_while_the_page_is_looked_at_is_drawn(empty: Store, shows: Callable[..., Looked]) -> None:
    from perdure.stores.base import Batch

    story = corpus.Story(2, "loan-7", "Loan", 300, [100])
    story.tell(1, ev.SignalReceived(story.ns(1), "note", corpus.payload(["a"])))
    story.write(empty)
    page = shows(empty).open("/runs/loan-7")
    assert page.locator("tr.said").count() == 1

    story.history.clear()
    story.tell(2, ev.UpdateAccepted(story.ns(2), "u-1", "raise_by", corpus.payload([1])))
    empty.journal.commit(Batch(updated=[story.row()], history=story.history))

    page.wait_for_selector("tr.said:nth-of-type(3)")
    assert page.get_by_text("Works on an update").count() == 1
