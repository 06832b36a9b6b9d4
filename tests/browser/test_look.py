"""Every page as people see it: a picture of each, and no violation of WCAG 2.2 AA that axe-core can find."""

from __future__ import annotations

import pytest
from browser.conftest import AXE, Open, SignIn, picture
from browser.rig import WebNode
from playwright.sync_api import Page

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


def test_the_sign_in_page(pair: tuple[WebNode, WebNode], fresh: Open) -> None:
    page = fresh().new_page()
    page.goto(pair[0].url)
    picture(page, "sign-in")
    assert violations(page) == []
