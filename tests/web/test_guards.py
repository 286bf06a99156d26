"""Who may ask the dashboard, what may be asked, and what a browser may load with the answer."""

import pytest

from perdure.stores.base import Store
from perdure.web.guards import host_name, is_loopback
from tests.web.conftest import Web

PATHS = ("/runs", "/runs.json", "/runs/order-48390", "/runs/nobody", "/nothing", "/live", "/static/perdure.css")


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_tells_the_browser_to_load_nothing_but_our_own_files(web: Web, path: str) -> None:
    answer = web.get(path)

    policy = answer.headers["content-security-policy"]
    assert policy.startswith(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; font-src 'self'"
    )
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/runs", "/runs/order-48390", "/runs/order-48390/events", "/runs/nobody"])
def test_a_page_has_no_script_and_no_style_of_its_own(web: Web, path: str) -> None:
    page = web.get(path).text

    assert " style=" not in page
    assert "<style" not in page
    assert " onclick" not in page
    assert "javascript:" not in page
    assert all('src="/static/' in tag for tag in page.split("<script")[1:])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:7070", "localhost:7070", "LOCALHOST", "[::1]:7070"])
def test_names_of_this_machine_are_answered(web: Web, host: str) -> None:
    assert web.get("/runs", host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7070", "127.0.0.1.evil.example", "10.0.0.7", "", "["])
def test_a_foreign_name_is_refused_as_one_that_was_made_to_mean_this_machine(web: Web, host: str) -> None:
    answer = web.get("/runs.json", host)

    assert answer.status == 403
    assert "does not answer to the name" in answer.text


def test_an_exposed_dashboard_answers_to_numbers_and_its_own_name_only(store: Store) -> None:
    web = Web(store, names=["build.example"], exposed=True)

    asked = {host: web.get("/runs", host).status for host in ("10.0.0.7:7070", "build.example", "evil.example")}

    assert asked == {"10.0.0.7:7070": 200, "build.example": 200, "evil.example": 403}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_nothing_but_reading_is_allowed(web: Web, method: str) -> None:
    answer = web.ask(method, "/runs/order-48213")

    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert "perdure cancel" in answer.text


def test_pages_are_not_kept_by_caches_and_assets_are_for_good(web: Web) -> None:
    assert web.get("/runs").headers["cache-control"] == "no-store"
    assert web.get("/runs.json").headers["cache-control"] == "no-store"
    assert "immutable" in web.get("/static/perdure.js").headers["cache-control"]


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static/"])
def test_nothing_beside_the_assets_is_served(web: Web, path: str) -> None:
    assert web.get(path).status == 404


def test_the_name_in_a_host_header_is_found_with_and_without_a_port() -> None:
    assert [host_name(host) for host in ("a.b:1", "A.b", "[::1]:80", "[::1]", "")] == ["a.b", "a.b", "::1", "::1", ""]


def test_only_this_machine_is_loopback() -> None:
    assert [is_loopback(host) for host in ("localhost", "127.0.0.1", "127.8.8.8", "::1")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.7", "build.example", "")] == [False] * 5
