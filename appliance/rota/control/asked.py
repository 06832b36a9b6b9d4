"""What callers may ask: queries and bodies, and the one line that says what is wrong with them."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from aiohttp import web
from multidict import MultiMapping
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from rota.control.controller import Refused
from rota.control.state import AuditRequest, CallOff, Closed, FailoverRequest, IntentRequest, WindowRequest

MAX_EVENTS = 5_000  # in one answer: about 1 MB, and under 50 ms of rotad's time
BODY_SECONDS = 10.0
M = TypeVar("M", bound=BaseModel)


def _rfc3339(value: object) -> object:
    """Pydantic would read a bare number as seconds since 1970; nobody means that."""
    if value is not None and not (isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d", value)):
        raise ValueError("a time is written 2026-11-24T14:00:00Z")
    return value


Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_rfc3339)]


class EventsQuery(Closed):
    """Which part of the journal; the newest `limit` of it."""

    since: Moment | None = None
    until: Moment | None = None
    service: str | None = Field(None, min_length=1, max_length=64)
    general: bool = False  # with `service`: also what is about no service, such as a failover or a start of rotad
    limit: int = Field(1000, ge=1, le=MAX_EVENTS)


class IntentBody(IntentRequest):
    """What to do with a member, and why; `until` brings it back by itself."""

    model_config = ConfigDict(strict=True)

    until: Moment | None = None


class WindowBody(WindowRequest):
    """When to do what with a member, and why: it begins at `starts` and ends at `until`, both by itself."""

    model_config = ConfigDict(strict=True)

    starts: Moment
    until: Moment


class CallOffBody(CallOff):
    """Why a window is called off."""

    model_config = ConfigDict(strict=True)


class FailoverBody(FailoverRequest):
    """Which group to hand over (null: all that this node holds), and why."""

    model_config = ConfigDict(strict=True)


class AuditBody(AuditRequest):
    """What was done or tried, by whom (`Rota-Person`), from where, and what came of it."""

    model_config = ConfigDict(strict=True)


class ServiceQuery(Closed):
    """One service, or all of them."""

    service: str | None = Field(None, min_length=1, max_length=64)


def intent_request(asked: IntentBody, until: datetime | None) -> IntentRequest:
    """What the controller is asked: `asked` with its end in UTC."""
    return IntentRequest(
        member=asked.member, service=asked.service, state=asked.state, reason=asked.reason, until=until, force=asked.force
    )


def bad(title: str, status: int = 400, code: str = "bad-request") -> Refused:
    """A refusal of what was sent; raise it."""
    return Refused(code, title[:300], status)


def utc(moment: datetime | None) -> datetime | None:
    """`moment` in UTC; a refusal when that lies outside the calendar."""
    if moment is None:
        return None
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise bad("a time is beyond the calendar") from None


def read_query(model: type[M], query: MultiMapping[str]) -> M:
    """The query string as `model`, or a refusal."""
    for name in query:
        if len(query.getall(name)) > 1:
            raise bad(f"{name}: given twice")
    try:
        return model.model_validate_strings(dict(query))
    except ValidationError as error:
        raise bad(_first(error)) from None


async def read_body(model: type[M], request: web.Request) -> M:
    """The JSON body as `model`, or a refusal."""
    if request.content_type != "application/json":
        raise bad("a body has Content-Type: application/json", 415, "media-type")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            raw = await request.read()
    except TimeoutError:
        raise bad(f"the body did not come within {BODY_SECONDS:.0f} s", 408, "too-slow") from None
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise bad(_first(error)) from None


def _first(error: ValidationError) -> str:
    """What is wrong, in one line, without echoing what was sent."""
    one = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in one["loc"])
    return f"{where}: {one['msg']}" if where else str(one["msg"])
