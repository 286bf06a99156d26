"""The dashboard in a real browser: what it complains of, keys, themes, zones, and parts that change."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure.kernel import events as ev
from perdure.stores.base import Batch, Store
from tests.unit.cli import corpus
from tests.web.conftest import Looked, Web
from tests.web.test_hostile import EVIL, evil_run
from tests.web.test_listing import OF_STATE

Shows = Callable[..., Looked]
AT = datetime.fromtimestamp(corpus.NOW / 1e9, UTC)
PAGES = {
    "list": "/runs",
    "nothing fits": "/runs?state=failed&workflow=ship_order",
    **{f"{state} run": f"/runs/{id}" for state, id in OF_STATE.items()},
    "step": "/runs/order-48213?step=0:2",
    "crowd": "/runs/score-77?crowd=0:2&call=840",
    "loop": "/runs/poll-3",
    "details": "/runs/order-48390?details=1",
    "events": "/runs/order-48390/events",
    "logs": "/runs/order-48213/logs",
}


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_a_page_gives_the_browser_nothing_to_complain_of(store: Store, shows: Shows, path: str) -> None:
    looked = shows(store)

    page = looked.open(path)
    page.wait_for_function("document.fonts.ready.then(() => true)")

    assert looked.complaints == []
    assert page.evaluate("document.fonts.check('12px Inter') && document.fonts.check('12px \"JetBrains Mono\"')")


def axe() -> str:
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()


def unread(page: Any, theme: str) -> list[tuple[str, list[str]]]:
    """What somebody could not read in a page. The dark theme has other colours, and is the same page otherwise."""
    page.evaluate(axe())
    rules = "{}" if theme == "light" else "{runOnly: ['color-contrast', 'link-in-text-block']}"
    violations = page.evaluate(f"axe.run({rules}).then((found) => found.violations)")
    return [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in violations]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_can_be_read_by_everybody(store: Store, shows: Shows, theme: str) -> None:
    looked = shows(store, color_scheme=theme, bypass_csp=True)

    found = {name: unread(looked.open(path), theme) for name, path in PAGES.items()}

    assert {name: each for name, each in found.items() if each} == {}


def test_no_page_is_wider_than_its_window(store: Store, shows: Shows) -> None:
    looked = shows(store)

    for path in PAGES.values():
        page = looked.open(path)
        for width in (1440, 1100, 800, 390):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)


def test_attributes_and_a_memo_can_be_read_by_everybody_and_fit_in_the_window(empty: Store, shows: Shows) -> None:
    many: dict[str, Any] = {"region": "eu", "customer": "a" * 90, "amount": 100, "tags": ["x" * 90], "urgent": True}
    corpus.Story(2, "noted", "order", 60, attributes=many, memo={"customer": {"name": "Ada"}}).write(empty)
    looked = shows(empty, viewport={"width": 390, "height": 800}, bypass_csp=True)

    for path in ("/runs?attr=region=eu&attr=amount>1", "/runs/noted"):
        page = looked.open(path)
        page.evaluate(axe())
        assert page.evaluate("axe.run().then((found) => found.violations.map((each) => each.help))") == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    assert looked.complaints == []


def test_an_attribute_in_a_row_leads_to_the_runs_that_have_it(empty: Store, shows: Shows) -> None:
    corpus.Story(2, "a", "order", 60, attributes={"region": "eu"}).write(empty)
    corpus.Story(4, "b", "order", 60, attributes={"region": "us"}).write(empty)
    page = shows(empty).open("/runs")

    page.get_by_role("link", name="region eu").click()

    page.wait_for_selector("text=1 match")
    assert page.locator("tr[data-part]").count() == 1


def row_of(step: str) -> str:
    """Where the row of a step is in a page."""
    return f'[id="s-{step}"] a'


def background(page: Any) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_the_theme_is_that_of_the_system(store: Store, shows: Shows) -> None:
    light = background(shows(store, color_scheme="light").open("/runs"))
    dark = background(shows(store, color_scheme="dark").open("/runs"))

    assert (light, dark) == ("rgb(246, 247, 249)", "rgb(12, 15, 20)")


def test_a_theme_that_was_chosen_is_remembered(store: Store, shows: Shows) -> None:
    looked = shows(store, color_scheme="light")
    page = looked.open("/runs")
    toggle = page.get_by_role("button", name="Theme")
    toggle.click()
    toggle.click()
    chosen = background(page)

    page = looked.open("/runs/order-48390")

    assert chosen == background(page) == "rgb(12, 15, 20)"
    assert page.locator("[data-theme-word]").inner_text() == "dark"


def test_times_are_local(store: Store, shows: Shows) -> None:
    page = shows(store, timezone_id="Asia/Tokyo").open("/runs/order-48390/events")

    assert page.locator(".events time").first.inner_text() == "23:29:55.000"
    assert page.locator("[data-zone]").inner_text() == "GMT+9"


def test_without_scripts_everything_can_be_read_in_utc(store: Store, shows: Shows) -> None:
    looked = shows(store, java_script_enabled=False)

    page = looked.open("/runs/order-48213?step=0:2")

    assert page.get_by_text("attempt 4 of 10 failed").is_visible()
    assert page.locator("#inspector").get_by_text("CardGatewayTimeout").first.is_visible()
    assert page.locator("time").first.inner_text() == "Nov 24 09:15"
    assert page.locator("[data-copy]:visible").count() == 0


def test_what_goes_on_ticks(store: Store, shows: Shows) -> None:
    looked = shows(store)
    looked.page.clock.install(time=AT - timedelta(seconds=1))
    looked.page.clock.pause_at(AT)
    page = looked.open("/runs/order-48213")
    countdown = page.locator("#now [data-until]").first
    assert countdown.inner_text() == "in 12s"

    page.clock.run_for(5_000)

    assert countdown.inner_text() == "in 7s"


def test_the_line_of_now_moves_and_open_bars_end_at_it(store: Store, shows: Shows) -> None:
    looked = shows(store)
    looked.page.clock.install(time=AT - timedelta(seconds=1))
    looked.page.clock.pause_at(AT)
    page = looked.open("/runs/order-48213")
    before = page.evaluate("parseFloat(document.querySelector('[data-nowline]').getAttribute('x1'))")

    page.clock.run_for(3_000)

    after = page.evaluate("parseFloat(document.querySelector('[data-nowline]').getAttribute('x1'))")
    ends = page.evaluate(
        "[...document.querySelectorAll('[data-open]')].map((bar) =>"
        " parseFloat(bar.getAttribute('x')) + parseFloat(bar.getAttribute('width')))"
    )
    assert after > before
    assert ends and all(abs(end - after) < 0.1 for end in ends)


def test_rows_are_walked_and_opened_by_keys(store: Store, shows: Shows) -> None:
    page = shows(store).open("/runs")

    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    first = page.evaluate("document.activeElement.title")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/ship-20931")

    assert first == "ship-20931"


def test_a_step_is_looked_at_and_closed_by_keys(store: Store, shows: Shows) -> None:
    page = shows(store).open("/runs/order-48390")

    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.locator("#inspector").get_by_text("asking stock").wait_for()
    opened = page.url
    page.keyboard.press("Escape")
    page.locator("#inspector").get_by_text("Choose a step").wait_for()

    assert opened.endswith("/runs/order-48390?step=0%3A2")
    assert page.url.endswith("/runs/order-48390")


def test_e_goes_to_the_next_row_that_deserves_a_look(store: Store, shows: Shows) -> None:
    page = shows(store).open("/runs/order-48213")

    page.keyboard.press("e")

    assert "charge_card" in page.evaluate("document.activeElement.textContent")


def test_slash_goes_to_the_filter_and_question_mark_shows_the_keys(store: Store, shows: Shows) -> None:
    page = shows(store).open("/runs")

    page.keyboard.press("/")
    page.keyboard.type("order-481")
    page.keyboard.press("Enter")
    page.wait_for_url("**id=order-481*")
    rows = page.locator("tbody tr").count()
    page.keyboard.press("?")

    assert rows == 2
    assert page.get_by_role("dialog", name="Shortcuts").is_visible()


def test_everything_is_reached_by_the_tabulator(store: Store, shows: Shows) -> None:
    page = shows(store).open("/runs/order-48213?step=0:2")
    wanted = page.evaluate(
        "[...document.querySelectorAll('a[href], button, summary, pre')].filter((e) => e.checkVisibility()).length"
    )

    reached = set()
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))

    assert len(reached) >= wanted


def test_a_step_is_opened_without_leaving_the_page_and_back_closes_it(store: Store, shows: Shows) -> None:
    page = shows(store).open("/runs/order-48213")
    page.evaluate("window.isSame = true")

    page.locator(row_of("0:2")).click()
    page.locator("#inspector").get_by_text("Attempts", exact=True).first.wait_for()
    page.go_back()
    page.locator("#inspector").get_by_text("Choose a step").wait_for()

    assert page.evaluate("window.isSame")


def test_a_cell_of_the_map_opens_its_call(store: Store, shows: Shows) -> None:
    page = shows(store).open("/runs/score-77?crowd=0:2")
    box = page.locator("[data-cells]").bounding_box()
    side = box["width"] / 50
    column, row = 840 % 50, 840 // 50

    page.mouse.click(box["x"] + (column + 0.5) * side, box["y"] + (row + 0.5) * side)

    page.locator("#inspector").get_by_text("line 400 has no price").first.wait_for()
    assert page.url.endswith("call=840")


def test_an_id_can_be_copied(store: Store, shows: Shows) -> None:
    page = shows(store, permissions=["clipboard-read", "clipboard-write"]).open("/runs/order-48213")

    page.get_by_role("button", name="Copy the id").click()

    page.locator(".copy.done").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "order-48213"


def test_a_row_changes_in_place_and_new_runs_wait_behind_a_bar(empty: Store, shows: Shows) -> None:
    story = corpus.waiting(14)
    corpus.retrying(4).write(empty)
    story.write(empty)
    looked = shows(empty)
    page = looked.open("/runs")
    order = page.locator("tbody tr").evaluate_all("(rows) => rows.map((row) => row.id)")

    story.tell(0, ev.RunTerminated(story.ns(1), "enough"))
    empty.journal.commit(Batch(updated=[story.row()], history=[story.history[-1]]))
    corpus.completed(16).write(empty)

    page.get_by_text("Terminated").wait_for()
    page.get_by_text("1 new run since you opened this page").wait_for()
    assert page.locator("tbody tr").evaluate_all("(rows) => rows.map((row) => row.id)") == order
    page.get_by_text("1 new run since you opened this page").click()
    page.locator("#run-16").wait_for()
    assert looked.complaints == []


def test_the_first_run_appears_by_itself(empty: Store, shows: Shows) -> None:
    page = shows(empty).open("/runs")
    page.get_by_text("No runs yet").wait_for()

    corpus.completed(16).write(empty)

    page.locator("#run-16").wait_for()


def test_the_page_of_a_run_follows_it_and_keeps_focus_and_what_was_opened(empty: Store, shows: Shows) -> None:
    story = corpus.retrying(4)
    story.write(empty)
    page = shows(empty).open("/runs/order-48213?step=0:2")
    page.locator("#inspector details").evaluate("(details) => { details.open = false; }")
    page.locator(row_of("0:2")).focus()

    story.tell(0, ev.CancelRequested(story.ns(18_950), "enough"))
    empty.journal.commit(Batch(updated=[story.row()], history=[story.history[-1]]))

    page.locator("#head").get_by_text("requested").wait_for()
    assert "charge_card" in page.evaluate("document.activeElement.textContent")
    assert page.locator("#inspector details").evaluate("(details) => details.open") is False


def test_a_run_that_ends_is_followed_no_more(empty: Store, shows: Shows) -> None:
    story = corpus.waiting(14)
    story.write(empty)
    page = shows(empty).open("/runs/onboard-acme-77")
    page.get_by_text("Live", exact=True).wait_for()

    story.tell(0, ev.RunTerminated(story.ns(1), "enough"))
    empty.journal.commit(Batch(updated=[story.row()], history=[story.history[-1]]))

    page.locator("#head").get_by_text("Terminated").wait_for()
    page.locator("[data-live-dot]").wait_for(state="hidden")


def test_a_dashboard_that_is_gone_is_told_and_the_page_stays(store: Store, shows: Shows) -> None:
    looked = shows(store)
    page = looked.open("/runs")
    page.route("**/live**", lambda route: route.abort())

    page.get_by_text(re.compile("Reconnecting in")).wait_for()
    assert page.locator("tbody tr").count() == 12
    page.unroute("**/live**")
    page.get_by_text("Live", exact=True).wait_for()


def test_hostile_texts_do_nothing(empty: Store, shows: Shows) -> None:
    evil_run().write(empty)
    looked = shows(empty)
    alerts: list[str] = []
    looked.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))

    for path in (
        "/runs",
        "/runs/evil?step=0:1&attempt=1",
        "/runs/evil?crowd=0:2&details=1",
        "/runs/evil/events",
        "/runs/evil/logs",
    ):
        page = looked.open(path)
        for summary in page.locator("summary").all()[:20]:
            summary.evaluate("(element) => element.click()")

    assert alerts == []
    assert looked.complaints == []
    assert EVIL.split("<")[0] in page.content().replace("&#34;", '"').replace("&gt;", ">")


LARGE_NODES = 2_500
LARGE_BYTES = 120_000


@pytest.mark.parametrize("query", ["", "?crowd=0:2", "?crowd=0:2&call=4000"])
def test_the_page_of_a_run_of_ten_thousand_events_stays_small(empty: Store, shows: Shows, query: str) -> None:
    corpus.fan_out(id="large", count=5_000).write(empty)
    sent = len(Web(empty).get(f"/runs/large{query}").body)

    page = shows(empty).open(f"/runs/large{query}")

    assert sent < LARGE_BYTES
    assert page.evaluate("document.querySelectorAll('*').length") < LARGE_NODES


def test_the_page_of_ten_thousand_events_of_as_many_kinds_stays_small_too(empty: Store, shows: Shows) -> None:
    story = corpus.Story(2, "large", "large", 10_000)
    for number in range(5_000):
        story.activity(number, 0.5, f"step_{number}", {"number": number}, "x" * 100)
    story.write(empty)

    page = shows(empty).open("/runs/large")

    assert len(Web(empty).get("/runs/large").body) < 2 * LARGE_BYTES
    assert page.evaluate("document.querySelectorAll('*').length") < LARGE_NODES
    page.get_by_text("more rows").first.click()
    page.wait_for_url("**from=20*")
    page.get_by_role("link", name="step_20 ").wait_for()
