"""What people do, on the pages of a real pair: look, take out, cut, hand over; and what the pages say when something is wrong."""

from __future__ import annotations

import re

from browser.conftest import Open, SignIn, picture, sign_in
from browser.rig import WebNode
from lib.poll import wait_until
from playwright.sync_api import Page, expect

Pair = tuple[WebNode, WebNode]


def row(page: Page, member: str, service: str = "pacs") -> str:
    """What a row of the status page says."""
    return page.locator(f'[id="m.{service}.{member}"]').inner_text()


def sees(page: Page, words: str, member: str, service: str = "pacs") -> None:
    """The row comes to say these words, without anybody touching the page."""
    expect(page.locator(f'[id="m.{service}.{member}"]')).to_contain_text(re.compile(words, re.I), timeout=15_000)


def ask(page: Page, act: str, member: str, reason: str = "patching") -> None:
    """Ask for an act on the member's page, up to the page that says what it means."""
    page.get_by_label(re.compile(f"^{act}:")).check()
    page.get_by_label("Why").fill(reason)
    page.get_by_role("button", name="See what it means").click()
    expect(page.get_by_role("heading", name=re.compile(f"{act}.*{member}", re.I))).to_be_visible()


def test_a_member_dies_and_comes_back_while_somebody_looks(pair: Pair, fresh: Open) -> None:
    page = sign_in(fresh().new_page(), pair[0], "viewer")
    expect(page.locator("[data-heard]")).to_contain_text("Live")
    expect(page.locator("#headline")).to_contain_text("All 3 services are up")
    for node in pair:
        node.kill_member("pacs-a")
    sees(page, "Down.*refused", "pacs-a")
    expect(page.locator("#headline")).to_contain_text("pacs is reduced")
    picture(page, "status-reduced")
    for node in pair:
        node.revive("pacs-a")
    sees(page, "Up", "pacs-a")
    expect(page.locator("#headline")).to_contain_text("All 3 services are up")


def test_a_server_is_drained_until_it_is_safe_to_patch(pair: Pair, signed_in: SignIn) -> None:
    node = pair[0]
    for _ in range(3):
        node.call("pacs")
    wait_until(lambda: node.member_state("pacs", "pacs-b")["associations"] == 1, within=10, what="a caller on pacs-b")
    page = signed_in(node)
    page.goto(f"{node.url}/maintenance/member/pacs-b")
    ask(page, "Drain", "pacs-b")
    expect(page.locator("main")).to_contain_text("2 of 3 members remain: pacs-a and pacs-c. 1 connection may end by itself")
    assert node.intent_of("pacs", "pacs-b") == "ready"  # nothing is done yet
    picture(page, "review")
    page.get_by_role("button", name="Drain pacs-b now").click()
    expect(page.locator("main")).to_contain_text("1 connection still open on pacs-b")
    expect(page.locator("main")).to_contain_text("Not safe to patch yet")
    assert [n.intent_of("pacs", "pacs-b") for n in pair] == ["drain", "drain"]
    picture(page, "wait")
    node.hang_up()
    expect(page.locator("main")).to_contain_text("pacs-b: safe to patch", timeout=20_000)
    picture(page, "safe")
    page.get_by_role("button", name=re.compile("Undo")).click()
    expect(page.locator("main")).to_contain_text("pacs-b is ready again")
    assert [n.intent_of("viewer", "pacs-b") for n in pair] == ["ready", "ready"]


def test_halt_cuts_who_is_connected(pair: Pair, signed_in: SignIn) -> None:
    node = pair[0]
    for _ in range(3):
        node.call("pacs")
    wait_until(lambda: node.member_state("pacs", "pacs-c")["associations"] == 1, within=10, what="a caller on pacs-c")
    page = signed_in(node)
    page.goto(f"{node.url}/maintenance/member/pacs-c?state=halt")
    ask(page, "Halt", "pacs-c", "answers, but stores nothing")
    expect(page.locator("main")).to_contain_text("1 connection is CUT at once")
    page.get_by_role("button", name="Halt pacs-c now").click()
    expect(page.locator("main")).to_contain_text("pacs-c is halted in pacs.")
    wait_until(lambda: node.member_state("pacs", "pacs-c")["associations"] == 0, within=10, what="it is cut")


def test_the_last_member_is_not_taken_out_by_accident(pair: Pair, signed_in: SignIn) -> None:
    page = signed_in(pair[0])
    page.goto(f"{pair[0].url}/maintenance/member/web-a")
    for node in pair:
        node.kill_member("pacs-b")
    wait_until(lambda: pair[0].member_state("viewer", "pacs-b")["verdict"] == "down", within=10, what="it is down")
    ask(page, "Drain", "web-a")
    expect(page.locator("main")).to_contain_text("NOBODY REMAINS")
    page.get_by_role("button", name="Drain web-a now").click()
    expect(page.get_by_role("alert")).to_contain_text("last serving member of viewer")
    assert pair[0].intent_of("viewer", "web-a") == "ready"


def test_a_failover_from_the_page_of_the_standby(pair: Pair, signed_in: SignIn) -> None:
    """Also: a second one takes it back, and both journals say the same."""
    active, standby = pair if pair[0].group()["role"] == "active" else (pair[1], pair[0])
    watching = signed_in(active, "viewer")
    for asks, gives in ((standby, standby), (active, active)):
        page = signed_in(asks)
        page.goto(f"{asks.url}/maintenance/failover/")
        page.get_by_role("button", name="Hand over now").click()
        expect(page.get_by_role("alert")).to_contain_text("Say why")
        page.get_by_label("Why").fill("kernel update")
        page.get_by_label("I have seen what it means").check()
        page.get_by_role("button", name="Hand over now").click()
        expect(page.locator("main")).to_contain_text(f"Group main: {gives.name} holds the addresses now", timeout=30_000)
        expect(watching.locator("#headline")).to_contain_text(f"{gives.name} is active", timeout=15_000)
        wait_until(lambda: all(n.get("/v1/status")["peers"][0]["in_step"] for n in pair), within=15, what="in step")

    def told(node: WebNode) -> list[tuple[str, ...]]:
        found = node.journal(kind="failover", reason="kernel update")
        return sorted((e["at"], e["before"], e["after"]) for e in found)

    # each was written by the node that handed over, and comes to the other one with an exchange
    wait_until(lambda: [len(told(n)) for n in pair] == [2, 2], within=15, what="both failovers are in both journals")
    assert told(pair[0]) == told(pair[1])
    assert [t[1:] for t in told(pair[0])] == [(active.name, standby.name), (standby.name, active.name)]


def test_rotad_stops_and_nothing_stays_green(pair: Pair, signed_in: SignIn) -> None:
    page = signed_in(pair[0])
    expect(page.locator("#headline")).to_contain_text("All 3 services are up")
    pair[0].stop_rotad()
    expect(page.locator("#headline")).to_contain_text(
        re.compile(r"Unknown since \d\d:\d\d:\d\d: rotad on lb1 does not answer"), timeout=15_000
    )
    expect(page.locator(".tag-good")).to_have_count(0)
    expect(page.locator(".is-good")).to_have_count(0)
    picture(page, "status-unknown")
    page.goto(f"{pair[0].url}/maintenance/member/pacs-b")
    expect(page.locator(".tag-good")).to_have_count(0)
    pair[0].start_rotad()
    page.goto(pair[0].url)
    expect(page.locator("#headline")).to_contain_text("All 3 services are up", timeout=30_000)


def test_with_the_peer_away_acts_are_done_here_and_queued(pair: Pair, signed_in: SignIn) -> None:
    one, two = pair
    two.stop_rotad()
    wait_until(lambda: not one.get("/v1/status")["peers"][0]["reachable"], within=15, what="the peer is missed")
    page = signed_in(one)
    page.goto(f"{one.url}/maintenance/member/pacs-a")
    ask(page, "Drain", "pacs-a")
    expect(page.locator("main")).to_contain_text("queued for lb2")
    page.get_by_role("button", name="Drain pacs-a now").click()
    expect(page.locator("main")).to_contain_text("queued for lb2")
    expect(page.locator("main")).not_to_contain_text("pacs-a: safe to patch")
    assert one.intent_of("pacs", "pacs-a") == "drain"
    two.start_rotad()
    wait_until(lambda: two.answers() and two.intent_of("pacs", "pacs-a") == "drain", within=20, what="lb2 has learnt it")


def test_a_session_that_has_ended_leads_to_the_sign_in_page(
    pair: Pair, fresh: Open, sessions: dict[tuple[str, str], object]
) -> None:
    page = sign_in(fresh().new_page(), pair[0], "viewer")
    pair[0].forget_sessions()
    sessions.clear()
    page.goto(f"{pair[0].url}/events?kind=intent")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("Name").fill("viewer")
    page.get_by_label("Password").fill("wrong, and long enough")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("The name or the password is wrong")


def test_a_form_without_its_token_does_nothing(pair: Pair, signed_in: SignIn) -> None:
    page = signed_in(pair[0])
    page.goto(f"{pair[0].url}/maintenance/member/pacs-b")
    page.evaluate("document.querySelectorAll('[name=csrf_token]').forEach(e => e.remove())")
    page.get_by_label(re.compile("^Drain:")).check()
    page.get_by_label("Why").fill("patching")
    page.get_by_role("button", name="See what it means").click()
    expect(page.get_by_role("heading")).to_contain_text("This form is too old")
    assert pair[0].intent_of("pacs", "pacs-b") == "ready"


def test_a_viewer_is_offered_nothing_to_do(pair: Pair, signed_in: SignIn) -> None:
    page = signed_in(pair[0], "viewer")
    for path in ("/maintenance/member/pacs-b", "/maintenance/failover/"):
        page.goto(pair[0].url + path)
        expect(page.locator("main")).to_contain_text("You may look")
        expect(page.locator("main form[method=post]")).to_have_count(0)
    page.goto(f"{pair[0].url}/people")
    expect(page.get_by_role("heading")).to_contain_text("You may not do this")


def test_by_keyboard_alone(pair: Pair, signed_in: SignIn) -> None:
    """From the status page to a drain, with Tab, Space and Enter."""
    page = signed_in(pair[0])
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to main content")).to_be_focused()
    page.keyboard.press("Enter")
    reach(page, lambda: "/maintenance/member/pacs-c" in focused(page, "href"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/maintenance/member/pacs-c?service=pacs")
    reach(page, lambda: focused(page, "name") == "state")
    page.keyboard.press("Space")
    reach(page, lambda: focused(page, "name") == "reason")
    page.keyboard.type("patching")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Drain pacs-c?")).to_be_visible()
    reach(page, lambda: "now" in page.evaluate("document.activeElement.textContent"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Is pacs-c safe to patch?")).to_be_visible()
    assert pair[0].intent_of("pacs", "pacs-c") == "drain"


def focused(page: Page, attribute: str) -> str:
    """An attribute of what the keyboard is at."""
    return str(page.evaluate("name => document.activeElement.getAttribute(name) || ''", attribute))


def reach(page: Page, there: object) -> None:
    """Press Tab until it is there; what has the focus can be seen."""
    assert callable(there)
    for _ in range(60):
        page.keyboard.press("Tab")
        if there():
            return
    raise AssertionError("the keyboard does not get there")


def test_with_scripts_off(pair: Pair, fresh: Open) -> None:
    """Look, filter, take out and bring back."""
    node = pair[0]
    page = sign_in(fresh(java_script_enabled=False).new_page(), node, "operator")

    def says_that_all_is_up() -> bool:  # the page shows a reading of up to a second ago, and does not follow by itself
        page.reload()
        return "All 3 services are up" in page.locator("#headline").inner_text()

    wait_until(says_that_all_is_up, within=10, what="the page says that all is up")
    page.get_by_label("Find").fill("mirth")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("article")).to_have_count(1)
    page.get_by_role("link", name="mirth-b").click()
    page.get_by_label(re.compile("^Drain:")).check()
    page.get_by_role("button", name="See what it means").click()
    expect(page.locator("main")).to_contain_text("Say why")  # and what was chosen is kept
    expect(page.get_by_label(re.compile("^Drain:"))).to_be_checked()
    page.get_by_label("Why").fill("patching")
    page.get_by_role("button", name="See what it means").click()
    page.get_by_role("button", name="Drain mirth-b now").click()
    assert node.intent_of("ris-feed", "mirth-b") == "drain"
    page.get_by_role("button", name=re.compile("Undo")).click()
    assert node.intent_of("ris-feed", "mirth-b") == "ready"


def test_a_window_begins_and_ends_by_itself_while_somebody_looks(pair: Pair, signed_in: SignIn) -> None:
    node = pair[1]
    page = signed_in(node)
    page.goto(f"{node.url}/maintenance/member/pacs-c")
    page.get_by_label(re.compile("^Drain:")).check()
    page.get_by_label("Why").fill("a new kernel")
    page.get_by_label("From").fill("15s")
    page.get_by_label("Until").fill("6s")
    page.get_by_role("button", name="See what it means").click()
    expect(page.get_by_role("heading", name="Plan: drain pacs-c?")).to_be_visible()
    picture(page, "review-window")
    page.get_by_role("button", name="Plan it").click()
    expect(page.locator("main")).to_contain_text("Planned: drain of pacs-c in all its services")
    picture(page, "maintenance-window")
    watching = signed_in(pair[0], "viewer")
    sees(watching, "planned: drain", "pacs-c")
    picture(watching, "status-window")
    expect(watching.locator("[id='m.pacs.pacs-c']")).to_contain_text("draining", timeout=40_000)
    sees(watching, "draining until.*by operator.*a new kernel", "pacs-c")
    assert [n.intent_of("pacs", "pacs-c") for n in pair] == ["drain", "drain"]
    expect(watching.locator("[id='m.pacs.pacs-c']")).not_to_contain_text("draining", timeout=30_000)
    assert [n.intent_of("pacs", "pacs-c") for n in pair] == ["ready", "ready"]
    for one in pair:
        wait_until(
            lambda n=one: [e["after"] for e in n.journal(kind="window")][-3:] == ["planned", "running", "over"],
            within=15, what=f"the journal of {one.name} tells of it",
        )  # fmt: skip


def test_a_window_is_called_off_from_the_other_node(pair: Pair, signed_in: SignIn) -> None:
    one, two = pair
    page = signed_in(one)
    page.goto(f"{one.url}/maintenance/member/pacs-a?state=drain&from=2h&until=3h")
    page.get_by_label("Why").fill("new disks")
    page.get_by_role("button", name="See what it means").click()
    page.get_by_role("button", name="Plan it").click()
    other = signed_in(two)
    other.goto(f"{two.url}/maintenance/")
    other.get_by_role("link", name="Call off that of pacs-a").click()
    picture(other, "window")
    other.get_by_role("button", name="Call it off").click()
    expect(other.get_by_role("alert")).to_contain_text("Say why")
    other.get_by_label("Why").fill("the vendor is ill")
    other.get_by_role("button", name="Call it off").click()
    expect(other.locator("main")).to_contain_text("Called off: drain of pacs-a")
    assert [[w["phase"] for w in n.get("/v1/windows")][-1] for n in pair] == ["called-off", "called-off"]
