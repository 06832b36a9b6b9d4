"""The administrator's pages, and tokens: what each role may do, and what is said of what cannot be done."""

from __future__ import annotations

import re
from typing import Any

import pytest
from rota.web.auth import lockout, passwords, tokens
from rota.web.auth.people import Person, Role, Source
from rota.web.context import Context
from rota.web.guard import SESSION
from unit.control.clocks import Hands
from unit.web.conftest import BASE, Browser, Rotad, SignIn

GOOD = "copper lantern orbit"
ADMINISTRATORS = [
    "/people", "/people/anna/role", "/people/anna/close", "/people/anna/open", "/people/anna/one-time", "/people/anna/unlock",
    "/people/anna/sessions", "/people/anna/remove",
]  # fmt: skip


@pytest.fixture
def anna(context: Context) -> str:
    context.store.add(Person("anna", Role.VIEWER), password=passwords.hashed(GOOD))
    return "anna"


@pytest.fixture
def admin(as_: SignIn) -> Browser:
    return as_(Role.ADMINISTRATOR)


def last(rotad: Rotad) -> tuple[str | None, ...]:
    event = rotad.double.journal[-1]
    return (event.before, event.after, event.person, event.reason)


@pytest.mark.parametrize("path", ADMINISTRATORS)
@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_only_an_administrator_manages_people(as_: SignIn, anna: str, context: Context, role: Role, path: str) -> None:
    before = context.store.people()
    browser = as_(role)
    assert browser.send(path, role="administrator", name="eve").status_code == 403
    assert browser.get("/people").status_code == 403
    assert context.store.people() == [*before, Person(role.word, role)]


@pytest.mark.parametrize("path", ADMINISTRATORS)
def test_no_act_without_the_forms_token(admin: Browser, anna: str, context: Context, path: str) -> None:
    before = context.store.people()
    assert admin.post(path, data={"role": "administrator", "name": "eve"}).status_code == 400
    assert context.store.people() == before


def test_a_new_person_gets_a_password_that_is_shown_once(admin: Browser, context: Context, rotad: Rotad) -> None:
    page = admin.send("/people", name="ben.jones", role="operator").get_data(as_text=True)
    once = re.search(r"<code>([a-z0-9-]{23})</code>", page)
    assert once
    assert context.store.person("ben.jones") == Person("ben.jones", Role.OPERATOR, must_change=True)
    assert passwords.matches(context.store.password("ben.jones")[0], once[1])
    assert once[1] not in admin.get("/people").get_data(as_text=True) + str(rotad.double.journal)
    assert last(rotad) == ("person-added", "done", "administrator via nobody", "from 127.0.0.1: ben.jones as operator")


@pytest.mark.parametrize(
    ("name", "role", "says"),
    [
        ("ben", "boss", "Choose a role."),
        ("", "viewer", "A name has up to 48 letters"),
        ("two words", "viewer", "A name has up to 48 letters"),
        ("<script>", "viewer", "A name has up to 48 letters"),
        ("x" * 49, "viewer", "A name has up to 48 letters"),
        ("ANNA", "viewer", "there is somebody named ANNA already"),
    ],
)
def test_what_is_wrong_with_a_new_person_is_said(
    admin: Browser, anna: str, context: Context, name: str, role: str, says: str
) -> None:
    page = admin.send("/people", name=name, role=role).get_data(as_text=True)
    assert says in page
    assert "<script>" not in page
    assert len(context.store.people()) == 2


def test_a_role_is_changed_at_once(admin: Browser, anna: str, context: Context, rotad: Rotad) -> None:
    sid = context.store.begin(anna)
    admin.send("/people/anna/role", role="operator")
    found = context.store.session(sid)
    assert found is not None
    assert found.role is Role.OPERATOR
    assert last(rotad)[3] == "from 127.0.0.1: anna from viewer to operator"


def test_a_closed_account_has_no_session_no_sign_in_and_no_token(
    admin: Browser, browser: Browser, anna: str, context: Context
) -> None:
    sid = context.store.begin(anna)
    token = tokens.make(context.store, Person(anna, Role.VIEWER), "backup", Role.VIEWER, 30)
    admin.send("/people/anna/close")
    assert context.store.session(sid) is None
    assert tokens.holder(context.store, token) is None
    assert browser.send("/sign-in", name=anna, password=GOOD).status_code == 401
    admin.send("/people/anna/open")
    assert browser.send("/sign-in", name=anna, password=GOOD).status_code == 302


def test_ended_sessions_unlocking_and_removal(admin: Browser, browser: Browser, anna: str, context: Context) -> None:
    sid = context.store.begin(anna)
    admin.send("/people/anna/sessions")
    assert context.store.session(sid) is None
    for _ in range(lockout.FREE):
        browser.send("/sign-in", name=anna, password=GOOD[1:])
    admin.send("/people/anna/unlock")
    assert browser.send("/sign-in", name=anna, password=GOOD).status_code == 302
    token = tokens.make(context.store, Person(anna, Role.VIEWER), "backup", Role.VIEWER, 30)
    admin.send("/people/anna/remove")
    assert context.store.person(anna) is None
    assert browser.get("/tokens").status_code == 302
    assert tokens.holder(context.store, token) is None


def test_a_one_time_password_replaces_what_was_known(admin: Browser, browser: Browser, anna: str, context: Context) -> None:
    sid = context.store.begin(anna)
    page = admin.send("/people/anna/one-time").get_data(as_text=True)
    once = re.search(r"<code>([a-z0-9-]{23})</code>", page)
    assert once
    assert context.store.session(sid) is None
    assert browser.send("/sign-in", name=anna, password=GOOD).status_code == 401
    assert browser.send("/sign-in", name=anna, password=once[1]).location == "/password"


@pytest.mark.parametrize(("path", "fields"), [("role", {"role": "viewer"}), ("close", {}), ("remove", {})])
def test_somebody_is_always_left_to_manage_people(
    admin: Browser, context: Context, rotad: Rotad, path: str, fields: dict[str, str]
) -> None:
    answer = admin.send(f"/people/administrator/{path}", **fields)
    assert (answer.status_code, b"nobody would be left to manage people" in answer.data) == (409, True)
    assert context.store.person("administrator") == Person("administrator", Role.ADMINISTRATOR)
    assert last(rotad)[1] == "refused"


def test_the_directorys_people_have_their_role_and_password_there(admin: Browser, context: Context) -> None:
    context.store.keep_external(Person("carl", Role.VIEWER, Source.LDAP), "carl")
    assert b"follows from their groups" in admin.send("/people/carl/role", role="operator").data
    assert b"belongs to the directory" in admin.send("/people/carl/one-time").data
    assert context.store.person("carl") == Person("carl", Role.VIEWER, Source.LDAP)


def test_an_unknown_person_is_a_page_that_says_so(admin: Browser) -> None:
    for act in ("role", "close", "open", "one-time", "unlock", "sessions", "remove"):
        answer = admin.send(f"/people/nobody/{act}", role="viewer")
        assert answer.status_code == 404
        assert "There is nobody called “nobody” here." in answer.text


# --- tokens


def test_a_token_is_shown_once_and_kept_as_a_hash(as_: SignIn, config: Any, rotad: Rotad) -> None:
    operator = as_(Role.OPERATOR)
    page = operator.send("/tokens", label="backup script", scope="operator", days="30").get_data(as_text=True)
    shown = re.search(r"<code>(rota_[0-9a-f]{12}_[\w-]{43})</code>", page)
    assert shown
    assert shown[1] not in operator.get("/tokens").get_data(as_text=True) + str(rotad.double.journal)
    kept = b"".join(path.read_bytes() for path in config.state_directory.iterdir())
    assert shown[1].split("_", 2)[2].encode() not in kept
    assert last(rotad)[3] == "from 127.0.0.1: backup script: operator for 30 days"


@pytest.mark.parametrize(
    ("label", "scope", "days", "says"),
    [
        ("x", "viewer", "30", "Say in 3 to 64 characters"),
        ("backup", "boss", "30", "is no role"),
        ("backup", "administrator", "30", "never manages people"),
        ("backup", "operator", "30", "as far as its owner may"),
        ("backup", "viewer", "0", "1 to 366 days"),
        ("backup", "viewer", "367", "1 to 366 days"),
        ("backup", "viewer", "-5", "for how many days"),
        ("backup", "viewer", "", "for how many days"),
    ],
)
def test_what_a_token_cannot_have_is_said(
    as_: SignIn, context: Context, label: str, scope: str, days: str, says: str
) -> None:
    answer = as_(Role.VIEWER).send("/tokens", label=label, scope=scope, days=days)
    assert answer.status_code == 400
    assert says in answer.get_data(as_text=True)
    assert f'value="{label}"' in answer.get_data(as_text=True), "what was typed stays"
    assert tokens.tokens(context.store) == []


def test_a_token_of_the_directorys_people_is_short_and_its_number_is_bounded(context: Context) -> None:
    context.store.keep_external(Person("carl", Role.VIEWER, Source.LDAP), "carl")
    carl = Person("carl", Role.VIEWER, Source.LDAP)
    with pytest.raises(ValueError, match="1 to 30 days"):
        tokens.make(context.store, carl, "backup", Role.VIEWER, 31)
    for _ in range(tokens.MOST):
        tokens.make(context.store, carl, "backup", Role.VIEWER, 30)
    with pytest.raises(ValueError, match="revoke one first"):
        tokens.make(context.store, carl, "backup", Role.VIEWER, 30)


def test_a_token_ends(context: Context, anna: str, hands: Hands) -> None:
    text = tokens.make(context.store, Person(anna, Role.VIEWER), "backup", Role.VIEWER, 1)
    hands.pass_(86399)
    assert tokens.holder(context.store, text)
    hands.pass_(1)
    assert tokens.holder(context.store, text) is None


def test_a_token_has_no_more_rights_than_its_owner_has_now(context: Context) -> None:
    context.store.add(Person("root-admin", Role.ADMINISTRATOR))
    context.store.add(Person("ben", Role.OPERATOR))
    text = tokens.make(context.store, Person("ben", Role.OPERATOR), "backup", Role.OPERATOR, 1)
    context.store.change("ben", role=Role.VIEWER)
    found = tokens.holder(context.store, text)
    assert found
    assert found[0].role is Role.VIEWER


def test_people_revoke_their_own_tokens_and_an_administrator_all(
    as_: SignIn, admin: Browser, context: Context, anna: str
) -> None:
    text = tokens.make(context.store, Person(anna, Role.VIEWER), "backup", Role.VIEWER, 30)
    number = text.split("_")[1]
    operator = as_(Role.OPERATOR)
    assert b"backup" not in operator.get("/tokens").data
    assert operator.send(f"/tokens/{number}/revoke").status_code == 404
    assert tokens.holder(context.store, text)
    assert b"backup" in admin.get("/tokens").data
    assert admin.send(f"/tokens/{number}/revoke").status_code == 302
    assert tokens.holder(context.store, text) is None


def test_a_page_that_looks_for_news_by_itself_keeps_no_session_alive(as_: SignIn, context: Context, hands: Hands) -> None:
    viewer = as_(Role.VIEWER)
    with viewer.session_transaction(base_url=BASE) as stored:
        sid = stored[SESSION]
    for _ in range(3):
        hands.pass_(11 * 60)
        context.store.session(sid, touch=False)
    assert viewer.get("/tokens").status_code == 302
