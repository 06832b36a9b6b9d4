"""Single sign-on against a real provider over TLS: who gets in, and every lie that must not work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from peers.pki import Authority
from rota.web.auth.people import Person, Role, Source
from rota.web.auth.sources import OidcConfig
from rota.web.config import WebConfig, parse
from rota.web.context import Context
from unit.web.conftest import BASE, Browser, Rotad, settings
from unit.web.provider import CLIENT, SECRET, Provider

BACK = f"{BASE}/sign-in/back"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def running(authority: Authority) -> Iterator[Provider]:
    one = Provider(authority)
    yield one
    one.close()


@pytest.fixture
def provider(running: Provider) -> Iterator[Provider]:
    claims = dict(running.claims)
    yield running
    running.claims, running.lies, running.codes, running.refused = claims, {}, {}, []


@pytest.fixture
def config(tmp_path: Path, provider: Provider, authority: Authority) -> WebConfig:
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    oidc = OidcConfig(
        label="Sign in with the hospital", issuer=provider.issuer, client_id=CLIENT, client_secret_file=secret, ca=authority.cert,
        name_claim="preferred_username", groups_claim="groups", roles={"ops": Role.OPERATOR, "staff": Role.VIEWER},
    )  # fmt: skip
    return replace(parse(settings(tmp_path)), oidc=oidc)


def begin(browser: Browser, target: str = "/") -> str:
    answer = browser.get("/sign-in/single", query_string={"next": target})
    assert answer.status_code == 302, answer.get_data(as_text=True)
    return str(answer.location)


def enter(browser: Browser, provider: Provider, target: str = "/") -> Any:
    return browser.get("/sign-in/back", query_string=provider.authorize(begin(browser, target)))


def last(rotad: Rotad) -> tuple[str | None, ...]:
    event = rotad.double.journal[-1]
    return (event.before, event.after, event.person, event.reason)


def test_a_person_of_a_known_group_gets_its_role(
    browser: Browser, provider: Provider, context: Context, rotad: Rotad
) -> None:
    assert b"Sign in with the hospital" in browser.get("/sign-in").data
    assert enter(browser, provider, "/tokens").location == "/tokens"
    assert browser.get("/tokens").status_code == 200
    assert context.store.person("anna") == Person("anna", Role.OPERATOR, Source.OIDC)
    assert last(rotad) == ("sign-in", "done", "anna via nobody", "from 127.0.0.1: oidc, as operator")


def test_what_the_provider_is_asked(browser: Browser, provider: Provider) -> None:
    query = parse_qs(urlsplit(begin(browser)).query)
    assert query["redirect_uri"] == [BACK]
    assert query["scope"] == ["openid profile"]
    assert len(query["state"][0]) >= 30
    assert len(query["nonce"][0]) >= 20
    assert len(query["code_challenge"][0]) == 43


@pytest.mark.parametrize(
    ("lies", "claims"),
    [
        ({"claims": {"nonce": "another"}}, {}),
        ({"claims": {"nonce": None}}, {}),
        ({"claims": {"iss": "https://evil.example"}}, {}),
        ({"claims": {"aud": "another-app"}}, {}),
        ({"claims": {"exp": int(time.time()) - 3600}}, {}),
        ({"signed with": "another key"}, {}),
        ({"signed with": "none"}, {}),
        ({"signed with": "the public key as a secret"}, {}),
        ({"no id token": True}, {}),
        ({"metadata": {"issuer": "https://evil.example"}}, {}),
        ({}, {"groups": ["cleaners"]}),
        ({}, {"groups": None}),
        ({}, {"preferred_username": "two words"}),
        ({}, {"preferred_username": None}),
    ],
)
def test_a_lie_lets_nobody_in(
    browser: Browser, provider: Provider, context: Context, rotad: Rotad, lies: dict[str, Any], claims: dict[str, Any]
) -> None:
    provider.lies, provider.claims = lies, provider.claims | claims
    answer = browser.get("/sign-in/single")
    if answer.status_code == 302:
        answer = browser.get("/sign-in/back", query_string=provider.authorize(answer.location))
    assert answer.status_code in (401, 502)
    assert browser.get("/tokens").status_code == 302
    assert context.store.people() == []
    assert last(rotad)[:3] == ("sign-in", "failed", "unknown via nobody")


@pytest.mark.parametrize("key", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
def test_an_endpoint_without_tls_is_not_used(browser: Browser, provider: Provider, key: str) -> None:
    provider.lies = {"metadata": {key: "http://localhost/x"}}
    assert browser.get("/sign-in/single").status_code == 502


def test_a_state_that_this_browser_did_not_begin_with_is_refused(
    browser: Browser, provider: Provider, app: Any, context: Context
) -> None:
    """Somebody else's answer, pushed into this browser, would sign it in as them."""
    theirs = app.test_client()
    query = provider.authorize(begin(theirs))
    assert browser.get("/sign-in/back", query_string=query).status_code == 401
    assert browser.get("/sign-in/back", query_string={"code": "x", "state": "y"}).status_code == 401
    assert browser.get("/sign-in/back").status_code == 401
    assert context.store.people() == []


def test_an_answer_is_good_for_once(browser: Browser, provider: Provider) -> None:
    query = provider.authorize(begin(browser))
    assert browser.get("/sign-in/back", query_string=query).status_code == 302
    assert browser.get("/sign-in/back", query_string=query).status_code == 401


def test_a_code_without_its_verifier_is_worth_nothing(browser: Browser, provider: Provider) -> None:
    first = provider.authorize(begin(browser))
    second = provider.authorize(begin(browser))
    assert browser.get("/sign-in/back", query_string=second | {"code": first["code"]}).status_code == 401
    assert provider.refused == ["PKCE"]


def test_the_provider_says_no(browser: Browser, provider: Provider) -> None:
    state = provider.authorize(begin(browser))["state"]
    answer = browser.get(
        "/sign-in/back", query_string={"error": "access_denied", "error_description": "<b>", "state": state}
    )
    assert (answer.status_code, b"<b>" in answer.data) == (401, False)


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example"])
def test_nobody_is_sent_elsewhere(browser: Browser, provider: Provider, target: str) -> None:
    assert enter(browser, provider, target).location == "/"


def test_a_name_that_is_somebody_elses_here_is_refused(browser: Browser, provider: Provider, context: Context) -> None:
    """Whoever controls the provider must not become the local administrator by taking that name."""
    context.store.add(Person("anna", Role.ADMINISTRATOR))
    assert enter(browser, provider).status_code == 403
    assert browser.get("/tokens").status_code == 302


def test_a_person_is_known_by_the_subject_and_not_by_the_name(
    browser: Browser, provider: Provider, context: Context
) -> None:
    enter(browser, provider)
    provider.claims = provider.claims | {"sub": "4712"}  # another person who took the name
    assert enter(browser, provider).status_code == 403
    provider.claims = provider.claims | {"sub": "4711", "preferred_username": "anna.smith"}  # the same one, married
    assert enter(browser, provider).status_code == 302
    assert [person.name for person in context.store.people()] == ["anna.smith"]


def test_a_closed_account_stays_closed_under_any_name(browser: Browser, provider: Provider, context: Context) -> None:
    context.store.add(Person("boss", Role.ADMINISTRATOR))
    enter(browser, provider)
    context.store.change("anna", disabled=True)
    assert enter(browser, provider).status_code == 403
    provider.claims = provider.claims | {"preferred_username": "anna.smith"}
    assert enter(browser, provider).status_code == 403


def test_a_provider_of_another_authority_is_not_asked(
    tmp_path: Path, config: WebConfig, rotad: Rotad, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rota.web import create_app
    from rota.web.security import limiter

    assert config.oidc
    other = replace(config, oidc=replace(config.oidc, ca=Authority(tmp_path / "other").cert))
    app = create_app(other)
    monkeypatch.setattr(limiter, "enabled", False)
    answer = app.test_client().get("/sign-in/single", base_url=BASE)
    assert (answer.status_code, b"does not answer" in answer.data) == (502, True)


def test_without_a_provider_there_is_no_link(tmp_path: Path, rotad: Rotad, monkeypatch: pytest.MonkeyPatch) -> None:
    from rota.web import create_app
    from rota.web.security import limiter

    client = create_app(parse(settings(tmp_path))).test_client()
    monkeypatch.setattr(limiter, "enabled", False)
    assert b"/sign-in/single" not in client.get("/sign-in", base_url=BASE).data
    assert client.get("/sign-in/single", base_url=BASE).status_code == 404
    assert client.get("/sign-in/back", base_url=BASE).status_code == 404
