"""Every view of the app, those that somebody adds tomorrow too: for nobody, and for each role."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from rota.web.auth.people import Role
from unit.web.conftest import BASE, Browser, SignIn

NAMES = {"name": "pacs-b", "service": "pacs", "window": "a00001", "number": "1"}
ENDLESS = ("stream", "relay")


def views(app: Flask) -> Iterator[tuple[str, str, Any, str]]:
    """(method, path, view, endpoint) of everything but static files."""
    with app.test_request_context(base_url=BASE):
        adapter = app.create_url_adapter(None) or app.url_map.bind("lb1.example")
        for rule in app.url_map.iter_rules():
            if rule.endpoint.rpartition(".")[2] == "static":
                continue
            values = {name: NAMES.get(name, "1") for name in rule.arguments}
            for method in sorted((rule.methods or set()) & {"GET", "POST"}):
                yield (
                    method,
                    adapter.build(rule.endpoint, values, method=method),
                    app.view_functions[rule.endpoint],
                    rule.endpoint,
                )


def test_every_view_says_which_role_it_needs(app: Flask) -> None:
    found = list(views(app))
    assert len(found) > 40
    assert [endpoint for *_, view, endpoint in found if getattr(view, "rota_role", None) is None] == []
    acts = [(endpoint, view.rota_role) for method, _, view, endpoint in found if method == "POST"]
    assert {endpoint for endpoint, role in acts if role < Role.OPERATOR} == {
        "auth.sign_in_now", "auth.sign_out", "auth.change_password", "tokens.make", "tokens.revoke",
    }  # fmt: skip


def test_nobody_gets_past_the_door(app: Flask, browser: Browser) -> None:
    for method, path, view, endpoint in views(app):
        if not view.rota_role:
            continue
        answer = browser.open(path, method=method)
        if path.startswith("/api/"):
            assert answer.status_code == 401, endpoint
        else:
            assert (answer.status_code, answer.headers.get("Location", "")[:8]) == (302, "/sign-in"), endpoint


@pytest.mark.parametrize("role", list(Role))
def test_a_role_gets_what_is_its_own_and_no_fault(app: Flask, as_: SignIn, role: Role) -> None:
    for method, path, view, endpoint in views(app):
        if endpoint.endswith(ENDLESS) or endpoint in ("auth.sign_out", "auth.sign_in_now"):
            continue
        browser = as_(role)
        answer = browser.get(path) if method == "GET" else browser.send(path)
        if view.rota_role > role:
            assert answer.status_code == 403, (endpoint, answer.status_code)
        else:
            assert answer.status_code not in (401, 403), (endpoint, answer.status_code)
            assert answer.status_code < 500 or endpoint == "health.ready", (endpoint, answer.status_code)
