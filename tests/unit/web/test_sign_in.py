"""Who gets in, who does not, and what is left of either in the journal."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from rota.control.state import Event
from rota.web.auth import lockout, passwords, signin
from rota.web.auth.people import Person, Role
from rota.web.context import Context
from rota.web.guard import SESSION
from rota.web.security import limiter
from unit.control.clocks import Hands
from unit.web.conftest import BASE, Browser, Rotad, SignIn

GOOD = "copper lantern orbit"
WRONG = b"The name or the password is wrong."


@pytest.fixture
def anna(context: Context) -> str:
    context.store.add(Person("anna", Role.OPERATOR), password=passwords.hashed(GOOD))
    return "anna"


def lines(rotad: Rotad) -> list[tuple[str | None, ...]]:
    return [(e.before, e.after, e.person, e.reason) for e in rotad.double.journal if e.kind == "audit"]


def enter(browser: Browser, password: str = GOOD, name: str = "anna", **more: str) -> Any:
    return browser.send("/sign-in", name=name, password=password, **more)


def session_of(browser: Browser) -> str | None:
    with browser.session_transaction(base_url=BASE) as stored:
        found = stored.get(SESSION)
    return found if isinstance(found, str) else None


def test_who_is_not_signed_in_is_asked_to_and_comes_back_to_the_page(browser: Browser, anna: str) -> None:
    asked = browser.get("/tokens?x=1")
    assert asked.location == "/sign-in?next=/tokens?x%3D1"
    assert b'value="/tokens?x=1"' in browser.get(asked.location).data
    assert enter(browser, next="/tokens?x=1").location == "/tokens?x=1"
    assert browser.get("/tokens").status_code == 200


def test_signing_in_and_out_is_in_the_journal(browser: Browser, anna: str, rotad: Rotad) -> None:
    enter(browser)
    browser.send("/sign-out")
    who = "anna via nobody"  # rotad sees the account of the app beside the person
    assert lines(rotad) == [
        ("sign-in", "done", who, "from 127.0.0.1: local, as operator"),
        ("sign-out", "done", who, "from 127.0.0.1"),
    ]


def test_a_wrong_password_and_an_unknown_name_look_alike(browser: Browser, anna: str, rotad: Rotad) -> None:
    for name, password in (("anna", "not the password"), ("hunter2hunter2", "x"), ("x" * 400, "x"), ("<b>", "x")):
        answer = enter(browser, password, name)
        assert (answer.status_code, WRONG in answer.data) == (401, True)
    assert [(line[1], line[2]) for line in lines(rotad)] == [("failed", "anna via nobody")] + 3 * [
        ("failed", "unknown via nobody")
    ]


def test_no_password_reaches_a_journal_a_log_or_the_store(
    browser: Browser, anna: str, rotad: Rotad, config: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    enter(browser, "opensesame-opensesame")
    enter(browser, "x", "opensesame-opensesame")  # typed into the wrong field
    enter(browser)
    kept = b"".join(p.read_bytes() for p in config.state_directory.iterdir() if "opensesame" not in p.name)
    failures = sqlite3.connect(config.state_directory / "people.db").execute("SELECT name FROM failures").fetchall()
    assert "opensesame" not in caplog.text + str(rotad.double.journal) + str(failures)
    assert b"opensesame" not in kept
    assert GOOD.encode() not in kept


def test_what_was_typed_stays_but_the_password(browser: Browser, anna: str) -> None:
    page = enter(browser, "not the password").data
    assert b'value="anna"' in page
    assert b"not the password" not in page


def test_a_sign_in_without_the_forms_token_is_refused(browser: Browser, anna: str) -> None:
    fields = {"name": "anna", "password": GOOD}
    assert browser.post("/sign-in", data=fields).status_code == 400
    token = browser.token()
    assert browser.post("/sign-in", data=fields | {"csrf_token": token}).status_code == 400  # no Referer
    assert (
        browser.post(
            "/sign-in", data=fields | {"csrf_token": token}, headers={"Referer": "https://evil.example/"}
        ).status_code
        == 400
    )
    assert session_of(browser) is None


def test_five_failures_lock_out_and_each_further_one_for_longer(
    browser: Browser, anna: str, hands: Hands, rotad: Rotad
) -> None:
    for _ in range(lockout.FREE):
        assert enter(browser, "not the password").status_code == 401
    assert "locked out after 5 failures" in str(lines(rotad)[-1][3])
    answer = enter(browser)  # the right one
    assert b"Too many failed attempts. Try again in 1 minute." in answer.data
    hands.pass_(lockout.FIRST_WAIT - 1)
    assert b"Too many" in enter(browser).data
    hands.pass_(1)
    assert WRONG in enter(browser, "not the password").data
    hands.pass_(lockout.FIRST_WAIT)
    assert b"Too many" in enter(browser).data
    hands.pass_(lockout.FIRST_WAIT)
    assert enter(browser).status_code == 302


def test_an_unknown_name_is_locked_out_alike(browser: Browser, context: Context) -> None:
    for _ in range(lockout.FREE):
        enter(browser, "x", "nobody-here")
    assert b"Too many" in enter(browser, "x", "NOBODY-here").data


def test_a_lock_out_never_lasts_longer_than_a_quarter_of_an_hour(context: Context, anna: str, hands: Hands) -> None:
    for _ in range(40):
        lockout.begin(context.store, anna)
    assert lockout.wait(context.store, anna) == lockout.LONGEST_WAIT
    hands.pass_(lockout.LONGEST_WAIT)
    assert lockout.wait(context.store, anna) == 0


def test_success_forgets_the_failures(browser: Browser, anna: str) -> None:
    for _ in range(3):
        for _ in range(lockout.FREE - 1):
            assert enter(browser, "not the password").status_code == 401
        assert enter(browser).status_code == 302


@pytest.mark.parametrize(
    ("seconds", "holds"),
    [(29 * 60, True), (30 * 60, False)],
)
def test_an_idle_session_ends(as_: SignIn, hands: Hands, seconds: float, holds: bool) -> None:
    viewer = as_(Role.VIEWER)
    hands.pass_(seconds)
    assert (viewer.get("/tokens").status_code == 200) is holds


def test_a_busy_session_ends_after_twelve_hours(as_: SignIn, hands: Hands) -> None:
    viewer = as_(Role.VIEWER)
    for _ in range(12 * 3 - 1):
        hands.pass_(20 * 60)
        assert viewer.get("/tokens").status_code == 200
    hands.pass_(20 * 60)
    assert viewer.get("/tokens").status_code == 302


def test_a_new_session_has_a_new_id_and_the_old_one_is_dead(browser: Browser, anna: str) -> None:
    enter(browser)
    first = session_of(browser)
    enter(browser)
    assert session_of(browser) not in (None, first)
    with browser.session_transaction(base_url=BASE) as stored:
        stored[SESSION] = first
    assert browser.get("/tokens").status_code == 302


def test_a_session_that_was_ended_on_the_server_is_over(browser: Browser, anna: str) -> None:
    enter(browser)
    sid = session_of(browser)
    browser.send("/sign-out")
    with browser.session_transaction(base_url=BASE) as stored:
        stored[SESSION] = sid
    assert browser.get("/tokens").status_code == 302


def test_the_cookie_is_bound_to_this_host_and_to_https(browser: Browser, anna: str) -> None:
    cookie = enter(browser).headers["Set-Cookie"]
    assert cookie.startswith("__Host-rota=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie


def test_a_cookie_that_somebody_else_signed_is_nobodys(browser: Browser, anna: str, context: Context) -> None:
    sid = context.store.begin(anna)
    browser.application.secret_key = "x" * 40
    with browser.session_transaction(base_url=BASE) as stored:
        stored[SESSION] = sid
    browser.application.secret_key = "y" * 40
    assert browser.get("/tokens").status_code == 302


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example/", "/\\evil.example", "/\t/evil.example", "javascript:alert(1)", "evil", "\\\\evil.example", "/" + "a" * 600],
)  # fmt: skip
def test_nobody_is_sent_elsewhere(browser: Browser, anna: str, target: str) -> None:
    assert target.encode() not in browser.get("/sign-in", query_string={"next": target}).data
    assert enter(browser, next=target).location == "/"


# --- one-time passwords, and changing one's own


def test_a_one_time_password_opens_nothing_until_it_is_changed(browser: Browser, context: Context, rotad: Rotad) -> None:
    context.store.add(Person("ben", Role.ADMINISTRATOR, must_change=True))
    once = signin.one_time_password(context, "ben")
    assert enter(browser, once, "ben").location == "/password"
    for path in ("/tokens", "/people"):
        assert browser.get(path).location == "/password"
    assert browser.get("/api/v1/status").status_code == 403
    answer = browser.send("/password", old=once, new=GOOD, again=GOOD)
    assert answer.location == "/"
    assert browser.get("/people").status_code == 200
    assert enter(browser, once, "ben").status_code == 401
    assert ("password", "done") in [line[:2] for line in lines(rotad)]


def test_a_one_time_password_expires(browser: Browser, context: Context, hands: Hands) -> None:
    context.store.add(Person("ben", Role.VIEWER, must_change=True))
    once = signin.one_time_password(context, "ben")
    hands.pass_(passwords.ONE_TIME_HOURS * 3600 + 1)
    assert enter(browser, once, "ben").status_code == 401


@pytest.mark.parametrize(
    ("old", "new", "again", "says"),
    [
        ("not the password", "violet marble kettle", "violet marble kettle", b"The present password is wrong."),
        (GOOD, "violet marble kettle", "violet marble kettl", b"The two new passwords differ."),
        (GOOD, GOOD, GOOD, b"Choose another one than the present."),
        (GOOD, "short words", "short words", b"Use at least 12 characters."),
        (GOOD, "x" * 60 + "abcd" * 20, "", b"Use at most 128 characters."),
        (GOOD, "anna is the operator", "", b"Leave your own name out of it."),
        (GOOD, "Password123456!", "", b"among the first that an attacker tries"),
        (GOOD, "1qaz2wsx3edc", "", b"among the first that an attacker tries"),
        (GOOD, "iloveyouiloveyou", "", b"among the first that an attacker tries"),
        (GOOD, "aaaabbbbccccdddd", "", b"among the first that an attacker tries"),
        (GOOD, "123456789012345", "", b"among the first that an attacker tries"),
        (GOOD, "", "", b"Use at least 12 characters."),
    ],
)
def test_a_new_password_is_refused_in_words(
    browser: Browser, anna: str, old: str, new: str, again: str, says: bytes
) -> None:
    enter(browser)
    answer = browser.send("/password", old=old, new=new, again=again)
    assert answer.status_code == 400
    assert says in answer.data
    assert enter(browser).status_code == 302, "the present one still holds"


@pytest.mark.parametrize(
    "password", ["copper lantern orbit", "ünïcödé wörds âll", "a" * 8 + "zqkvmwpt", "correct horse battery"]
)
def test_a_long_password_needs_no_mix_of_characters(password: str) -> None:
    assert passwords.weakness(password, "anna") is None


def test_changing_the_password_ends_the_other_sessions(browser: Browser, anna: str, context: Context) -> None:
    other = context.store.begin(anna)
    enter(browser)
    browser.send("/password", old=GOOD, new="violet marble kettle", again="violet marble kettle")
    assert context.store.session(other) is None
    assert browser.get("/tokens").status_code == 200


def test_guessing_the_present_password_locks_out_too(browser: Browser, anna: str) -> None:
    enter(browser)
    for _ in range(lockout.FREE):
        browser.send("/password", old="x", new="violet marble kettle", again="violet marble kettle")
    answer = browser.send("/password", old=GOOD, new="violet marble kettle", again="violet marble kettle")
    assert b"Too many failed attempts" in answer.data


def test_what_is_kept_of_a_password_costs_an_attacker_memory_and_is_renewed(
    browser: Browser, anna: str, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the hasher of the app itself
    monkeypatch.setattr(limiter, "enabled", False)
    before = context.store.password(anna)[0]
    assert enter(browser).status_code == 302
    kept = context.store.password(anna)[0]
    assert kept != before
    assert str(kept).startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert enter(browser).status_code == 302


# --- the audit line when rotad is silent


def test_a_line_waits_for_rotad_and_is_told_with_its_time(browser: Browser, anna: str, rotad: Rotad, hands: Hands) -> None:
    rotad.stop()
    assert enter(browser).status_code == 302
    rotad.start()
    hands.pass_(60)
    browser.send("/sign-out")
    found: list[Event] = rotad.double.journal
    assert [(e.before, e.after) for e in found] == [("sign-in", "done"), ("sign-out", "done")]
    assert found[0].reason == "from 127.0.0.1: at 2026-05-04T12:00:00Z: local, as operator"


def test_the_key_of_the_cookies_is_made_once_and_is_the_accounts_own(config: Any, app: Any) -> None:
    path: Path = config.state_directory / "session-key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_text().strip()) >= 43
    assert app.secret_key == path.read_text().strip()
    assert (config.state_directory / "people.db").stat().st_mode & 0o777 == 0o600
