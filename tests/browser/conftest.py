"""Real Chromium, without a way out, in front of a real pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from browser.rig import PASSWORD, TOP, WebNode, site_folder
from contract.conftest import daemon_root, network
from contract.test_keepalived_pair import install_vrrp, join
from contract.test_rotad_failover import ready
from lib.poll import wait_until
from peers.pki import Authority
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

__all__ = ["daemon_root", "network"]
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
]  # fmt: skip


@pytest.fixture(scope="session")
def pair(daemon_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WebNode, WebNode]]:
    """Two nodes with their pages; each test leaves them as it found them."""
    folder = tmp_path_factory.mktemp("pair")
    authority = Authority(folder / "ca")
    install_vrrp(daemon_root)
    with ExitStack() as stack:
        nodes = WebNode("lb1", daemon_root, folder, stack), WebNode("lb2", daemon_root, folder, stack)
        join(*nodes)
        for node in nodes:
            node.authority = authority
        for node in nodes:
            node.begin()
        for node in nodes:
            node.start_web()
        wait_until(lambda: all(calm(node) for node in nodes), within=40, what="both nodes are in step and all is up")
        yield nodes


def calm(node: WebNode) -> bool:
    """All is as it should be."""
    return ready(node) and all(s["verdict"] == "up" for s in node.get("/v1/status")["services"])


@pytest.fixture(autouse=True)
def restored(pair: tuple[WebNode, WebNode]) -> Iterator[None]:
    """Every test begins, and the next one too, with a pair that is well."""
    yield
    for node in pair:
        node.hang_up()
        for name, processes in node.members.items():
            if any(p.poll() is not None for p in processes):
                for process in processes:
                    process.kill()
                    process.wait(5)
                node.revive(name)
        if node.rotad is not None and node.rotad.poll() is not None:
            node.start_rotad()
    wait_until(lambda: all(ready(node) for node in pair), within=30, what="the pair is whole again")
    status = pair[0].get("/v1/status")
    for window in status["windows"]:
        if window["phase"] == "planned":
            pair[0].request("POST", f"/v1/windows/{window['id']}/call-off", {"reason": "after the test"})
    for service in status["services"]:
        for member in service["members"]:
            if member["intent"] and member["intent"]["state"] != "ready":
                pair[0].request(
                    "POST", "/v1/intents", {"member": member["name"], "state": "ready", "reason": "after the test"}
                )
    wait_until(lambda: all(calm(node) for node in pair), within=20, what="all is up again")


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Debian's Chromium. Nothing but loopback can be resolved in it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


Open = Callable[..., BrowserContext]


@pytest.fixture
def fresh(chromium: Browser) -> Iterator[Open]:
    """Makes browsers in which nobody is signed in."""
    with ExitStack() as stack:

        def make(**options: object) -> BrowserContext:
            context = chromium.new_context(
                ignore_https_errors=True, viewport={"width": 1280, "height": 900}, locale="en-GB", **options
            )  # type: ignore[arg-type]
            context.set_default_timeout(10_000)
            stack.callback(context.close)
            return context

        yield make


SignIn = Callable[..., Page]


def sign_in(page: Page, node: WebNode, name: str) -> Page:
    """Sign in as people do."""
    page.goto(node.url)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{node.url}/")
    return page


@pytest.fixture(scope="session")
def sessions() -> dict[tuple[str, str], Any]:
    """Cookies of people who have signed in: the app takes ten sign-ins a minute."""
    return {}


@pytest.fixture
def signed_in(fresh: Open, sessions: dict[tuple[str, str], Any]) -> SignIn:
    """`signed_in(node, "operator")` is a page on which somebody is signed in; what its scripts complain of fails the test."""

    def make(node: WebNode, name: str = "operator", **options: object) -> Page:
        key = (node.name, name)
        if key not in sessions:
            first = fresh()
            sign_in(first.new_page(), node, name)
            sessions[key] = first.storage_state()
        page = fresh(storage_state=sessions[key], **options).new_page()
        page.on("pageerror", lambda error: pytest.fail(f"a script failed: {error}"))
        page.goto(node.url)
        return page

    return make


def picture(page: Page, name: str) -> None:
    """Keep what a page looks like."""
    page.screenshot(path=site_folder() / f"{name}.png", full_page=True)


AXE = TOP / "node_modules/axe-core/axe.min.js"
