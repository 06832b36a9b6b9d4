"""Audit lines: who did what, from where, why, and what came of it. They go into rotad's journal, which both nodes have.

A line is never lost because rotad is silent: it waits in the store, and is told, with its time, once rotad answers again.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from datetime import datetime
from typing import Any, Literal

from flask import has_request_context, request

from rota.control.client import Declined, Rotad, Silent
from rota.web.context import Context, context

log = logging.getLogger("rota.web.audit")
Outcome = Literal["done", "refused", "failed"]
NOBODY = "unknown"  # whoever gave a name that is not known: it may have been a password
_WAITING = 10_000  # lines
_PAUSE = 5.0  # s: nobody else waits for a rotad that has just been silent
_turn = threading.Lock()


def note(
    action: str,
    outcome: Outcome,
    *,
    person: str,
    text: str | None = None,
    service: str | None = None,
    member: str | None = None,
) -> None:
    """Note that `person` did, or tried, `action`. `text` says why or what exactly; never a secret. Never fails."""
    here = context()
    source = (request.remote_addr or "unknown") if has_request_context() else "console"
    body = {
        "action": action,
        "outcome": outcome,
        "source": source,
        "text": _line(text),
        "service": service,
        "member": member,
    }
    log.info("%s %s by %s %s", action, outcome, person, json.dumps(body, sort_keys=True))
    with _turn:
        here.store.keep_audit(person, json.dumps(body | {"at": here.clock.now().isoformat()}), most=_WAITING)
        _deliver(here)


def deliver() -> None:
    """Tell rotad what waits."""
    with _turn:
        _deliver(context())


def _deliver(here: Context) -> None:
    if here.clock.steady() - here.silent_at < _PAUSE:
        return
    for number, person, text in here.store.waiting_audit():
        body = json.loads(text)
        late = here.clock.now() - datetime.fromisoformat(at := body.pop("at"))
        if late.total_seconds() > 5:
            body["text"] = _line(f"at {at[:19]}Z: {body['text'] or ''}")
        try:
            Rotad(here.config.rotad_socket, person=person).audit(body)
        except Silent as problem:
            log.warning("an audit line waits: %s", problem)
            here.silent_at = here.clock.steady()
            return
        except Declined as problem:
            log.error("rotad does not take an audit line: %s", problem)
        here.store.drop_audit(number)


def _line(text: str | None) -> str | None:
    """`text` as rotad takes it: one line, 3 to 200 characters."""
    if not text:
        return None
    line = re.sub(r"[\x00-\x1f\x7f]+", " ", text).strip()[:200]
    return line.ljust(3, ".") if line else None


def outcome_of(problem: Exception) -> Outcome:
    """How an act ended that rotad did not do."""
    return "refused" if isinstance(problem, Declined) else "failed"


def act(action: str, body: dict[str, Any], person: str, problem: Exception | None) -> None:
    """The line of an act of rotad's: `body` is what was asked."""
    why = str(body.get("reason") or "")
    extras = [f"{key} {body[key]}" for key in ("group", "window", "starts", "until") if body.get(key)] + (
        ["forced"] if body.get("force") else []
    )
    said = "; ".join([why, *extras, *([str(problem)] if problem else [])])
    service, member = body.get("service"), body.get("member")
    note(
        action, outcome_of(problem) if problem else "done", person=person, text=said, service=_name(service),
        member=_name(member),
    )  # fmt: skip


def _name(value: object) -> str | None:
    """A name as rotad takes it; what was sent may be anything."""
    return value if isinstance(value, str) and 0 < len(value) <= 64 and value.isprintable() else None
