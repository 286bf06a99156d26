"""Whatever is in ids, values, errors and logs: it is text, and stays text."""

import html
import re
from html.parser import HTMLParser

import pytest

from perdure.kernel import events as ev
from perdure.stores.base import Store
from perdure.web import addresses
from tests.unit.cli import corpus
from tests.web.conftest import Web

EVIL = """"><script>alert(1)</script><img src=x onerror=alert(1)>'{{1337*1337}}</pre></svg><!-- ` & \u202e"""
IDS = (EVIL.replace("\u202e", ""), "a/../b", "..", "~", "x.json", "<b>", "events", "%2e%2e", "a b" * 60, "日本 id")


class Tags(HTMLParser):
    """All tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def evil_run(key: int = 2, id: str = "evil") -> corpus.Story:
    why = ev.Failure(
        EVIL,
        EVIL,
        f'Traceback (most recent call last):\n  File "{EVIL}", line 1, in {EVIL}\n    {EVIL}\n{EVIL}: {EVIL}',
    )
    attributes = {f"n{n}": value for n, value in enumerate([EVIL, [EVIL], EVIL, EVIL])}
    story = corpus.Story(key, id, EVIL, 100, {EVIL: [EVIL, {EVIL: EVIL}]}, EVIL, attributes, {EVIL: EVIL})
    step = story.schedule(1, EVIL, {EVIL: EVIL})
    logs = ev.Logs((ev.LogRecord(story.ns(1), 20, EVIL, EVIL), ev.LogRecord(story.ns(1), 99, EVIL, EVIL)))
    story.fail(2, step, 1, 1, why, again=3, logs=logs)
    story.start(3, step, 2)
    story.complete(4, step, 3, {EVIL: EVIL}, 2)
    for _ in range(12):
        again = story.schedule(5, EVIL)
        story.tell(6, ev.ActivityFailed(story.ns(6), again, why, story.ns(5), 1, 7))
    story.tell(7, ev.PatchMarked(story.ns(7), story.id(), EVIL))
    story.tell(8, ev.CancelRequested(story.ns(8), EVIL))
    story.tell(9, ev.RunFailed(story.ns(9), why))
    return story


PAGES = (
    "/runs",
    "/runs?state=failed",
    f"/runs?attr=n0={EVIL}",
    f"/runs?attr={EVIL}",
    "/runs/evil",
    "/runs/evil?step=0:1",
    "/runs/evil?step=0:1&attempt=1",
    "/runs/evil?crowd=0:2",
    "/runs/evil?details=1",
    "/runs/evil/events",
    "/runs/evil/logs",
    f"/runs?workflow={EVIL}&id={EVIL}",
    f"/runs/{EVIL}",
    f"/runs/evil?step={EVIL}",
    f"/runs?state={EVIL}",
    f"/runs?before={EVIL}",
    f"/{EVIL}",
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path[:24])
def test_a_hostile_text_makes_no_element_and_no_attribute(empty: Store, path: str) -> None:
    evil_run().write(empty)
    calm = Web(empty).get("/runs")
    page = Web(empty).get(path.replace("#", "%23")).text

    tags = Tags(page)
    assert "<script>alert" not in page
    assert "img" not in tags.tags
    assert not {name for name in tags.attributes if name.startswith("on")}
    assert "1787569" not in page
    assert calm.status == 200


@pytest.mark.parametrize("path", ["/runs.json", "/runs/evil.json", "/runs/evil/events.json", "/runs/evil/logs.json"])
def test_data_are_never_taken_for_a_page(empty: Store, path: str) -> None:
    evil_run().write(empty)

    answer = Web(empty).get(path)

    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("id", IDS, ids=lambda id: id[:12])
def test_a_run_of_any_id_is_reached_from_the_list(empty: Store, id: str) -> None:
    corpus.completed(2, id).write(empty)
    web = Web(empty)

    (link,) = re.findall(r'data-row href="([^"]*)"', web.get("/runs").text)
    page = web.get(html.unescape(link))

    assert page.status == 200
    assert web.get(addresses.as_json(html.unescape(link))).json()["id"] == id


def test_the_live_parts_are_escaped_as_the_page_is(empty: Store) -> None:
    evil_run().write(empty)

    parts = Web(empty).get("/live?run=evil&seen=").json()["parts"]

    for drawn in parts.values():
        assert "<script>alert" not in drawn
        assert "img" not in Tags(drawn).tags


def test_a_level_nobody_knows_is_shown_as_it_is(empty: Store) -> None:
    evil_run().write(empty)

    assert "Level 99" in Web(empty).get("/runs/evil/logs").text


def test_no_template_trusts_what_it_is_given() -> None:
    """`tojson` leaves quotes as they are, which is wrong within an attribute."""
    from perdure.web.pages import HERE as WEB

    wrong = [
        page.name
        for page in (WEB / "templates").glob("*.html")
        if re.search(r"\|\s*(safe|tojson|xmlattr)|autoescape", page.read_text())
    ]

    assert wrong == []
