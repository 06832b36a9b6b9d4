"""The app with a rotad in memory behind a real UNIX socket, and a browser without scripts in front."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from rota.control.access import Access, Caller
from rota.control.api import Api
from rota.web import create_app
from rota.web.auth import passwords
from rota.web.auth.people import Person, Role
from rota.web.config import WebConfig, parse
from rota.web.context import Context
from rota.web.guard import SESSION
from rota.web.security import limiter
from unit.api.double import Double
from unit.control.clocks import Hands

HOST = "lb1.example"
BASE = f"https://{HOST}"
OPERATORS = 3001


class Rotad:
    """A rotad in memory on a socket; `stop` makes it silent, `start` brings it back."""

    def __init__(self, path: Path) -> None:
        self.path, self.double = path, Double()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._api: Api | None = None
        self.start()

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def start(self) -> None:
        caller = Caller(65534, frozenset({OPERATORS}))
        self._api = Api(self.double, Access(frozenset({OPERATORS}), frozenset()), identify=lambda _: caller, heartbeat=0.2)
        self._do(self._api.start(self.path))

    def stop(self) -> None:
        if self._api:
            self._do(self._api.close())
            self.path.unlink(missing_ok=True)
        self._api = None

    def call(self, fn: Callable[..., Any], *args: Any) -> None:
        """Run `fn` where the double lives (events have to be told there)."""

        async def run() -> None:
            fn(*args)

        self._do(run())

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def rotad(tmp_path: Path) -> Iterator[Rotad]:
    """The rotad that the app asks; `rotad.double` is what it knows."""
    one = Rotad(Path(os.path.relpath(tmp_path)) / "rotad.sock")
    yield one
    one.close()


@pytest.fixture
def hands() -> Hands:
    """The app's clock: `hands.pass_(seconds)` lets time pass."""
    return Hands()


def settings(tmp_path: Path) -> dict[str, Any]:
    """A whole web.toml."""
    return {
        "node": "lb1",
        "site": str(tmp_path / "site.json"),
        "rotad_socket": os.path.relpath(tmp_path / "rotad.sock"),
        "state_directory": str(tmp_path / "web"),
        "listen": ["203.0.113.11"],
        "port": 8443,
        "certificate": str(tmp_path / "web.crt"),
        "key": str(tmp_path / "web.key"),
        "hosts": [HOST, "203.0.113.11"],
        "wallboard": False,
        "session": {"idle_minutes": 30, "absolute_hours": 12},
        "live": {"streams": 8},
    }


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a hash costs in earnest is looked at in test_sign_in; here it would only take time."""
    monkeypatch.setattr(passwords, "_HASHER", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))


@pytest.fixture
def config(tmp_path: Path) -> WebConfig:
    """Override it (dataclasses.replace) for another configuration."""
    return parse(settings(tmp_path))


@pytest.fixture
def app(config: WebConfig, rotad: Rotad, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """The app, its rotad running; it answers as often as it is asked (`limiter.enabled` is tested by itself)."""
    app = create_app(config, clock=hands.clock)
    monkeypatch.setattr(limiter, "enabled", False)
    return app


@pytest.fixture
def context(app: Flask) -> Context:
    """The app's store and clock."""
    found: Context = app.extensions["rota"]
    return found


class Browser(FlaskClient):
    """A browser that speaks HTTPS to the right host and fills in the CSRF token of forms, unless told otherwise."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("base_url", BASE)
        return super().open(*args, **kwargs)

    def token(self) -> str:
        """The CSRF token that a form on a page of this session would hold."""
        with self.application.test_request_context("/", base_url=BASE):
            from flask import session
            from flask_wtf.csrf import generate_csrf

            with self.session_transaction(base_url=BASE) as stored:
                session.update(stored)
                token = generate_csrf()
                stored.update(session)
        return token

    def send(self, path: str, **fields: str) -> Any:
        """Send a form as the page would: with its CSRF token and Referer."""
        return self.post(path, data=fields | {"csrf_token": self.token()}, headers={"Referer": f"{BASE}/"})


@pytest.fixture
def browser(app: Flask) -> Browser:
    """Nobody is signed in."""
    app.test_client_class = Browser
    client = app.test_client()
    assert isinstance(client, Browser)
    return client


SignIn = Callable[[Role], Browser]


@pytest.fixture
def as_(app: Flask, context: Context) -> SignIn:
    """`as_(Role.OPERATOR)` is a browser in which somebody of that role is signed in; their name is the role's word."""
    app.test_client_class = Browser

    def sign_in(role: Role) -> Browser:
        if context.store.person(role.word) is None:
            context.store.add(Person(role.word, role))
        client = app.test_client()
        assert isinstance(client, Browser)
        with client.session_transaction(base_url=BASE) as stored:
            stored[SESSION] = context.store.begin(role.word)
        return client

    return sign_in
