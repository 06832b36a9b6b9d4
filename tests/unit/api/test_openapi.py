"""The description is true: it is a valid document, and what schemathesis makes of it never breaks the API."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import aiohttp
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from openapi_spec_validator import validate
from rota.control.access import Access, Caller
from rota.control.api import ROUTES, Api
from rota.control.openapi import document
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from unit.api.conftest import OPERATORS
from unit.api.double import Double


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The API on a loopback port, in a loop of its own: schemathesis speaks TCP."""
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    loop = asyncio.new_event_loop()
    operator = Caller(65534, frozenset({OPERATORS}))
    api = Api(Double(), Access(frozenset({OPERATORS}), frozenset()), identify=lambda _: operator)
    loop.run_until_complete(api.serve(sock))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{port}"
    asyncio.run_coroutine_threadsafe(api.close(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


schema = schemathesis.openapi.from_dict(document(ROUTES)).exclude(path="/v1/events/stream")


def test_the_document_is_valid() -> None:
    validate(document(ROUTES))


async def test_the_document_is_served(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/openapi.json") as answer:
        served = await answer.json()
    assert served == document(ROUTES)
    assert served["openapi"] == "3.1.0"
    assert set(served["paths"]) == {route.path for route in ROUTES}


def test_every_error_is_described_as_a_problem() -> None:
    for path, operations in document(ROUTES)["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if status != "200":
                    assert list(answer["content"]) == ["application/problem+json"], path


@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_api_keeps_its_description(case: schemathesis.Case, url: str) -> None:
    case.call_and_validate(
        base_url=url,
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
            negative_data_rejection,
        ],
    )
