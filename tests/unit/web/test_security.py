"""What holds for every page: hosts, headers, sizes, rates, and no view that forgot to say who may see it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from rota.settings import BadConfig
from rota.web import create_app, errors
from rota.web.auth.people import Role
from rota.web.config import WebConfig, load, parse
from rota.web.security import HEADERS, MAX_BODY, limiter, safe_next
from unit.web.conftest import BASE, HOST, Browser, Rotad, SignIn, settings

FORGED = [
    "evil.example",
    "evil.example:8443",
    f"{HOST}.evil.example",
    f"{HOST}:80",
    f"{HOST}@evil.example",
    "",
    "[::1]",
    "203.0.113.12",
]
KNOWN = [HOST, f"{HOST}:8443", HOST.upper(), "203.0.113.11", "203.0.113.11:8443"]


@pytest.mark.parametrize("host", FORGED)
@pytest.mark.parametrize("path", ["/healthz", "/sign-in", "/tokens"])
def test_a_forged_host_name_gets_nothing(browser: Browser, host: str, path: str) -> None:
    answer = browser.get(path, headers={"Host": host})
    assert answer.status_code == 400
    assert host == "" or host.encode() not in answer.data


@pytest.mark.parametrize("host", KNOWN)
def test_the_nodes_own_names_are_known(browser: Browser, host: str) -> None:
    assert browser.get("/healthz", headers={"Host": host}).status_code == 200


def test_an_address_of_ip_version_6_is_a_host(config: WebConfig, rotad: Rotad, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(replace(config, hosts=("2001:db8::11",)))
    monkeypatch.setattr(limiter, "enabled", False)
    for host, status in (("[2001:db8::11]:8443", 200), ("[2001:db8::11]", 200), ("[2001:db8::12]", 400), (HOST, 400)):
        assert app.test_client().get("/healthz", base_url=BASE, headers={"Host": host}).status_code == status, host


@pytest.mark.parametrize("path", ["/sign-in", "/nope", "/tokens", "/api/v1/status", "/healthz"])
def test_every_answer_is_hardened(browser: Browser, path: str) -> None:
    answer = browser.get(path)
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert answer.headers["Cache-Control"] == "no-store"
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "max-age=31536000" in answer.headers["Strict-Transport-Security"]


@pytest.mark.parametrize("role", list(Role))
def test_no_page_has_inline_script_or_style(as_: SignIn, role: Role) -> None:
    """The policy would stop it, and a page would look broken."""
    browser = as_(role)
    for path in ("/password", "/tokens", "/people", "/api/v1/", "/nope"):
        page = browser.get(path).get_data(as_text=True)
        assert "style=" not in page, path
        assert "onclick=" not in page, path
        assert "<script>" not in page, path


def test_a_large_form_is_refused(browser: Browser) -> None:
    answer = browser.send("/sign-in", name="x" * (MAX_BODY + 1), password="x")  # noqa: S106
    assert (answer.status_code, b"That was too much" in answer.data) == (413, True)


def test_sign_ins_of_one_address_are_limited(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter, "enabled", True)
    limiter.reset()
    found = [browser.send("/sign-in", name=f"n{n}", password=str(n)).status_code for n in range(12)]
    assert found == 10 * [401] + 2 * [429]
    answer = browser.send("/sign-in", name="anna", password="x" * 12)
    assert "Retry-After" in answer.headers
    assert b"Too many requests" in answer.data
    assert browser.get("/sign-in").status_code == 200
    limiter.reset()


def test_every_view_says_who_may_see_it(app: Flask) -> None:
    """The guard refuses one that does not; this tells of it before somebody meets it."""
    silent = [
        name for name, view in app.view_functions.items() if not name.endswith("static") and not hasattr(view, "rota_role")
    ]
    assert silent == []


def test_a_view_that_says_nothing_is_closed(app: Flask, browser: Browser) -> None:
    app.add_url_rule("/forgotten", "forgotten", lambda: "secret")
    answer = browser.get("/forgotten")
    assert (answer.status_code, b"secret" in answer.data) == (500, False)


def test_a_fault_of_ours_shows_nothing_of_the_inside(app: Flask, as_: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise RuntimeError("the key is 4711")

    broken.rota_role = Role.VIEWER  # type: ignore[attr-defined]
    app.add_url_rule("/broken", "broken", broken)
    answer = as_(Role.VIEWER).get("/broken")
    assert answer.status_code == 500
    assert b"4711" not in answer.data
    assert b"RuntimeError" not in answer.data
    assert b"journalctl" in answer.data


@pytest.mark.parametrize(("status", "words"), [(404, b"There is no such page"), (405, b"cannot be done in this way")])
def test_what_is_not_there_says_so(as_: SignIn, status: int, words: bytes) -> None:
    viewer = as_(Role.VIEWER)
    answer = viewer.get("/nope") if status == 404 else viewer.get("/sign-out")
    assert (answer.status_code, words in answer.data) == (status, True)


def test_a_path_is_shown_as_text(browser: Browser) -> None:
    assert b"<script>" not in browser.get("/<script>alert(1)</script>").data


def test_nothing_is_known_since_rotad_last_answered(app: Flask) -> None:
    with app.test_request_context("/", base_url=BASE):
        assert errors.since() == "since this page's server started"


@pytest.mark.parametrize("target", ["/", "/services/pacs?x=1#y", "/a//b"])
def test_a_path_of_ours_is_a_target(target: str) -> None:
    assert safe_next(target, "/fallback") == target


@pytest.mark.parametrize(
    "target", [None, "", "x", "//e", "/\\e", "\\\\e", "https:e", "/\ne", "/ e", "/\x7f", "/" + "x" * 500, "/\t//e"]
)
def test_nothing_else_is(target: str | None) -> None:
    assert safe_next(target, "/fallback") == "/fallback"


# --- settings


def without(settings: dict[str, Any], path: str) -> dict[str, Any]:
    table, _, key = path.rpartition(".")
    if table:
        return settings | {table: {k: v for k, v in settings[table].items() if k != key}}
    return {k: v for k, v in settings.items() if k != key}


@pytest.mark.parametrize(
    ("path", "says"),
    [
        *[(key, f"{key} is missing") for key in ("node", "site", "rotad_socket", "state_directory", "listen", "port", "certificate", "key", "hosts", "wallboard")],
        ("session", r"the table \[session\] is missing"),
        ("session.idle_minutes", "session.idle_minutes is missing"),
        ("live.streams", "live.streams is missing"),
    ],
)  # fmt: skip
def test_a_missing_key_stops_the_start_with_one_line(tmp_path: Path, path: str, says: str) -> None:
    with pytest.raises(BadConfig, match=says):
        parse(without(settings(tmp_path), path))


LDAP = {
    "host": "dc.example", "port": 636, "start_tls": False, "ca": "/ca", "bind_dn": "cn=rota", "bind_password_file": "/p",
    "base": "dc=example", "filter": "(uid={name})", "roles": {"cn=ops": "operator"},
}  # fmt: skip
OIDC = {
    "label": "Sign in with the hospital", "issuer": "https://sso.example", "client_id": "rota", "client_secret_file": "/s", "ca": "/ca",
    "name_claim": "preferred_username", "groups_claim": "groups", "roles": {"ops": "operator"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"port": 0}, "port: 0 is not a number from 1 to 65535"),
        ({"hosts": []}, "hosts is not a list of texts"),
        ({"wallboard": "yes"}, "wallboard is neither true nor false"),
        ({"ldap": LDAP | {"filter": "(uid=*)"}}, "ldap.filter does not hold {name}"),
        ({"ldap": LDAP | {"roles": {"cn=ops": "boss"}}}, "ldap.roles: 'boss' is no role"),
        ({"oidc": OIDC | {"issuer": "http://sso.example"}}, "oidc.issuer does not begin with https://"),
        *[({"ldap": {k: v for k, v in LDAP.items() if k != key}}, key) for key in LDAP],
        *[({"oidc": {k: v for k, v in OIDC.items() if k != key}}, key) for key in OIDC],
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(BadConfig, match=says):
        parse(settings(tmp_path) | change)


def test_whole_settings_are_taken(tmp_path: Path) -> None:
    found = parse(settings(tmp_path) | {"ldap": LDAP, "oidc": OIDC})
    assert found.ldap is not None
    assert found.ldap.roles == {"cn=ops": Role.OPERATOR}
    assert found.oidc is not None


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "web.toml"
    with pytest.raises(BadConfig, match=r"web\.toml: cannot be read: No such file"):
        load(path)
    path.write_text("node = ")
    with pytest.raises(BadConfig, match=r"web\.toml: is not valid TOML"):
        load(path)
    path.write_text('node = "lb1"')
    with pytest.raises(BadConfig, match=r"web\.toml: the table \[session\] is missing"):
        load(path)
