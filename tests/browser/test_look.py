"""Every page as people see it: a picture of each, and no violation of WCAG 2.2 AA that axe-core can find."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from browser.conftest import AXE, Open, SignIn, picture
from browser.rig import WebNode
from playwright.sync_api import Page, expect

PAGES = {
    "status": "/",
    "service": "/service/pacs",
    "maintenance": "/maintenance/",
    "member": "/maintenance/member/pacs-b",
    "patch-server": "/maintenance/patch/pacs-b",
    "patch-node": "/maintenance/node",
    "failover": "/maintenance/failover/",
    "events": "/events",
    "reports": "/reports?from=1d",
    "certificates": "/certificates",
    "about": "/about",
    "licences": "/licences",
    "people": "/people",
    "tokens": "/tokens",
    "api": "/api/v1/",
    "password": "/password",
    "wall": "/wall",
    "missing": "/service/pax",
    "nowhere": "/nowhere",
}
TELEPHONE = {"width": 390, "height": 844}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def violations(page: Page) -> list[str]:
    """What axe-core objects to."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
    return [
        f"{v['id']}: {v['help']}: {v['nodes'][0]['html'][:200]} {v['nodes'][0].get('failureSummary', '')}"
        for v in found["violations"]
    ]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_used_by_everybody(pair: tuple[WebNode, WebNode], signed_in: SignIn, name: str) -> None:
    page = signed_in(pair[0], "administrator")
    page.goto(pair[0].url + PAGES[name])
    picture(page, name)
    assert violations(page) == []
    page.set_viewport_size(TELEPHONE)
    picture(page, f"telephone-{name}")
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= TELEPHONE["width"], f"the page is {wide} pixels wide"
    assert violations(page) == []


def test_the_wall_board(pair: tuple[WebNode, WebNode], fresh: Open) -> None:
    """Nobody is signed in; seen from across the room."""
    page = fresh().new_page()
    page.set_viewport_size({"width": 1920, "height": 1080})
    page.goto(f"{pair[0].url}/wall")
    for node in pair:
        node.kill_member("pacs-a")
    expect(page.locator("#headline")).to_contain_text("pacs is reduced", timeout=15_000)
    picture(page, "wall-reduced")
    assert violations(page) == []


def test_the_sign_in_page(pair: tuple[WebNode, WebNode], fresh: Open) -> None:
    page = fresh().new_page()
    page.goto(pair[0].url)
    page.set_viewport_size(TELEPHONE)
    picture(page, "telephone-sign-in")
    page.set_viewport_size({"width": 1280, "height": 900})
    picture(page, "sign-in")
    assert violations(page) == []


def test_a_night_with_something_to_see(pair: tuple[WebNode, WebNode], signed_in: SignIn) -> None:
    """The picture of the README: a member down, one draining, one with a window, callers connected."""
    node = pair[0]
    for _ in range(3):
        node.call("pacs")
        node.call("viewer")
    page = signed_in(node)
    begin = (datetime.now(UTC) + timedelta(days=1)).replace(hour=2, minute=0, second=0, microsecond=0)
    times = urlencode({"from": begin.isoformat(), "until": (begin + timedelta(hours=2)).isoformat()})
    for path, why, button in (
        ("mirth-b?state=drain", "patching", "Drain mirth-b now"),
        (f"web-a?state=drain&{times}", "kernel update", "Plan it"),
    ):
        page.goto(f"{node.url}/maintenance/member/{path}")
        page.get_by_label("Why").fill(why)
        page.get_by_role("button", name="See what it means").click()
        page.get_by_role("button", name=button).click()
        page.wait_for_load_state()
    for one in pair:
        one.kill_member("pacs-a")
    page.goto(node.url)
    for member, words in (("pacs.pacs-a", "Down"), ("ris-feed.mirth-b", "draining"), ("viewer.web-a", "planned: drain")):
        expect(page.locator(f"[id='m.{member}']")).to_contain_text(words, timeout=15_000)
    picture(page, "status-night")
    page.goto(f"{node.url}/maintenance/")
    picture(page, "maintenance-night")
    assert violations(page) == []
    page.set_viewport_size(TELEPHONE)
    picture(page, "telephone-maintenance-night")
    page.goto(f"{node.url}/service/pacs")
    page.set_viewport_size({"width": 1280, "height": 900})
    picture(page, "service-night")
    assert violations(page) == []
