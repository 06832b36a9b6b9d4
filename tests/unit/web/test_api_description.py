"""What schemathesis makes of the description never breaks /api/v1, and every answer is one that is described."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck
from hypothesis import settings as pace
from rota.web import create_app
from rota.web.api.description import description
from rota.web.auth import tokens
from rota.web.auth.people import Person, Role
from rota.web.config import parse
from rota.web.context import Context
from rota.web.security import limiter
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance
from unit.web.conftest import HOST, Rotad, settings

schema = schemathesis.openapi.from_dict(description()).exclude(path="/api/v1/events/stream")


@dataclass
class Served:
    """An app and a token for it."""

    app: Flask
    token: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("s")
    rotad = Rotad(Path(os.path.relpath(folder)) / "rotad.sock")
    app = create_app(parse(settings(folder)))
    context: Context = app.extensions["rota"]
    context.store.add(Person("script", Role.ADMINISTRATOR))
    yield Served(app, tokens.make(context.store, Person("script", Role.OPERATOR), "schemathesis", Role.OPERATOR, 1))
    rotad.close()


@schema.parametrize()
@pace(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_api_keeps_its_description(case: schemathesis.Case, served: Served) -> None:
    limiter.enabled = False  # by hand: fixtures of a function are shared by all examples
    try:
        answer = case.call(
            base_url=f"https://{HOST}",
            app=served.app,
            headers={"Authorization": f"Bearer {served.token}", "Host": HOST, "Accept-Encoding": "identity"},
        )
    finally:
        limiter.enabled = True
    case.validate_response(
        answer, checks=[not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    )
