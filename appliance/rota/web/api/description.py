"""The OpenAPI 3.1 description of /api/v1: rotad's own, with what the web app adds and leaves out."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

from rota.control.access import PERSON_HEADER
from rota.control.api import ROUTES
from rota.control.openapi import document

PREFIX = "/api/v1"
_LEFT_OUT = {"/v1/audit"}  # for the app itself
_TOO_MANY = {"description": "Too many requests of one address in a minute"}
_NOBODY = {"description": "No token, or one that does not hold"}


@cache
def _made() -> dict[str, Any]:
    found = document([route for route in ROUTES if route.path not in _LEFT_OUT])
    problem = found["paths"]["/v1/status"]["get"]["responses"]["403"]["content"]
    for operations in found["paths"].values():
        for operation in operations.values():
            operation["parameters"] = [one for one in operation["parameters"] if one["name"] != PERSON_HEADER]
            acts = "requestBody" in operation
            operation["description"] = f"Needs the role {'operator' if acts else 'viewer'}, and a token of that scope."
            operation["responses"] |= {
                "401": _NOBODY | {"content": problem},
                "429": _TOO_MANY | {"content": problem},
            }
    return found | {
        "info": found["info"]
        | {
            "title": "Rota",
            "description": "The API of a Rota node for scripts. Send a token in the header Authorization: Bearer rota_…;"
            " a browser that is signed in may use its session, and then sends its CSRF token as X-CSRFToken with every act."
            " Times are RFC 3339 in UTC.",
        },
        "paths": {path.replace("/v1", PREFIX, 1): value for path, value in found["paths"].items()},
        "security": [{"token": []}],
        "components": found["components"]
        | {"securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "rota_ID_SECRET"}}},
    }


def description() -> dict[str, Any]:
    """A copy of it."""
    return copy.deepcopy(_made())
