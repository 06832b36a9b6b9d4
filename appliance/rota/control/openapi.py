"""The OpenAPI 3.1 description of the API, made from the routes and the models that the code itself uses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter

from rota import __version__
from rota.control.access import PERSON_HEADER, Right
from rota.control.state import Problem

_WHY = {
    400: "The request is not understood",
    403: "The caller's groups do not allow it",
    404: "There is no such thing",
    408: "The request did not come in time",
    409: "Understood and not done: the title says why, `force` may help",
    413: "The body is too large",
    415: "The body is no JSON",
    500: "A fault of rotad's own",
    503: "Too many connections or streams",
}


@dataclass(frozen=True)
class Route:
    """One operation: its handler's name is its operationId; `answer` None is a stream of server-sent events."""

    method: str
    path: str
    handler: str
    summary: str
    answer: Any
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    right: Right = Right.READ
    errors: tuple[int, ...] = ()


def document(routes: list[Route]) -> dict[str, Any]:
    """The description of `routes`, ready to be served."""
    inputs: list[tuple[Any, Any, TypeAdapter[Any]]] = [(("error", ""), "serialization", TypeAdapter(Problem))]
    for route in routes:
        if route.answer is not None:
            inputs.append(((route.handler, "answer"), "serialization", TypeAdapter(route.answer)))
        if route.body is not None:
            inputs.append(((route.handler, "body"), "validation", TypeAdapter(route.body)))
    schemas, rest = TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = _operation(route, {key[0]: schema for key, schema in schemas.items()})
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rotad",
            "version": __version__,
            "summary": "Control of a Rota node",
            "description": "Served on the UNIX socket /run/rota/rotad.sock. The kernel says who calls (SO_PEERCRED): root"
            " and the group rota-operators may act, rota-viewers may read. Times are RFC 3339 in UTC.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": rest["$defs"]},
    }


def _operation(route: Route, schemas: dict[tuple[str, str], Any]) -> dict[str, Any]:
    if route.answer is None:
        media = {"text/event-stream": {"schema": {"type": "string"}}}
    else:
        media = {"application/json": {"schema": schemas[route.handler, "answer"]}}
    expected = {400, 403, 500, 503, *route.errors} | ({408, 413, 415} if route.body else set())
    answers: dict[str, Any] = {"200": {"description": "Done" if route.body else "The answer", "content": media}}
    for status in sorted(expected):
        schema = {"application/problem+json": {"schema": schemas["error", ""]}}
        answers[str(status)] = {"description": _WHY[status], "content": schema}
    operation: dict[str, Any] = {
        "operationId": route.handler,
        "summary": route.summary,
        "description": f"Needs the right to {'act' if route.right is Right.ACT else 'read'}.",
        "parameters": _parameters(route),
        "responses": answers,
    }
    if route.body:
        content = {"application/json": {"schema": schemas[route.handler, "body"]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    if route.query:
        for name, schema in route.query.model_json_schema()["properties"].items():
            found.append({"name": name, "in": "query", "required": False, "schema": _not_null(schema)})
    if route.body:
        text = "The person for whom root or the web app acts; without it, the caller's login."
        schema = {"type": "string", "maxLength": 64, "pattern": r"^[A-Za-z0-9][A-Za-z0-9._@+\\-]{0,63}$"}
        found.append({"name": PERSON_HEADER, "in": "header", "required": False, "description": text, "schema": schema})
    return found


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query has no null: a parameter is there or not."""
    plain = {key: value for key, value in schema.items() if key not in ("anyOf", "title", "default")}
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    return plain | (kinds[0] if kinds else {})
