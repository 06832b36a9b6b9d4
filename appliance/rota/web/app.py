"""Puts the app together: its parts are blueprints, named in one list."""

from __future__ import annotations

from importlib import import_module

from flask import Flask

from rota import __version__
from rota.control.clock import Clock
from rota.web import compress, errors, guard, security
from rota.web.auth.store import Store
from rota.web.config import WebConfig
from rota.web.context import Context, context
from rota.web.secret import session_key

# module:name of each blueprint. A new part of the app is one line here.
BLUEPRINTS = [
    "rota.web.health:blueprint",
    "rota.web.auth.views:blueprint",
    "rota.web.auth.manage:blueprint",
    "rota.web.auth.token_views:blueprint",
    "rota.web.api.views:blueprint",
    "rota.web.pages:blueprint",
    "rota.web.pages.status:blueprint",
    "rota.web.pages.service:blueprint",
    "rota.web.pages.upkeep:blueprint",
    "rota.web.pages.failover:blueprint",
    "rota.web.pages.journal:blueprint",
    "rota.web.pages.about:blueprint",
]


def create_app(config: WebConfig, *, clock: Clock | None = None) -> Flask:
    """The app of one node. `clock` is for tests. OSError when the state directory cannot be written."""
    app = Flask("rota.web")
    clock = clock or Clock()
    config.state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    app.secret_key = session_key(config.state_directory / "session-key")
    store = Store(config.state_directory / "people.db", clock, idle=config.idle, absolute=config.absolute)
    app.extensions["rota"] = Context(config, clock, store)
    security.install(app, config)
    guard.install(app)
    errors.install(app)
    if config.oidc:
        from rota.web.auth import oidc  # Authlib and requests: only where they are used

        oidc.install(app, config.oidc)
    compress.install(app)
    for name in BLUEPRINTS:
        module, _, attribute = name.partition(":")
        app.register_blueprint(getattr(import_module(module), attribute))
    app.context_processor(_for_templates)
    return app


def _for_templates() -> dict[str, object]:
    """Known in every template: the node's name, the version, who is signed in (None: nobody) and the roles."""
    return {
        "node": context().config.node,
        "version": __version__,
        "person": guard.signed_in(),
        "Role": guard.Role,
    }
