"""Tokens for scripts: `rota_ID_SECRET`, shown once and kept as a hash, with a scope and an end."""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from rota.web.auth.people import Person, Role, Source
from rota.web.auth.store import Store, digest

LONGEST_DAYS = 366
LONGEST_DAYS_ELSEWHERE = 30  # for people of a directory: nobody tells this node that they have left
MOST = 20  # of one person
LABEL = re.compile(r"[^\x00-\x1f\x7f]{3,64}")
_FORM = re.compile(r"rota_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; its secret is not."""

    id: str
    person: str
    label: str
    scope: Role
    made: datetime
    until: datetime
    used: datetime | None


def make(store: Store, person: Person, label: str, scope: Role, days: int) -> str:
    """A new token of `person`. ValueError, in words, for what it cannot have."""
    most = LONGEST_DAYS if person.source is Source.LOCAL else LONGEST_DAYS_ELSEWHERE
    if not LABEL.fullmatch(label):
        raise ValueError("Say in 3 to 64 characters what it is for.")
    if scope > min(person.role, Role.OPERATOR):
        raise ValueError("A token may look or act, as far as its owner may; it never manages people.")
    if not 1 <= days <= most:
        raise ValueError(f"It may hold for 1 to {most} days.")
    number, secret, now = secrets.token_hex(6), secrets.token_urlsafe(32), store.now()
    with store.open() as db:
        db.execute("DELETE FROM tokens WHERE until < ?", (now,))
        if db.execute("SELECT count(*) FROM tokens WHERE person = ?", (person.name,)).fetchone()[0] >= MOST:
            raise ValueError(f"{person.name} has {MOST} tokens already: revoke one first.")
        db.execute(
            "INSERT INTO tokens (id, hash, person, label, scope, made, until) VALUES (?,?,?,?,?,?,?)",
            (number, digest(secret), person.name, label, scope, now, now + days * 86400),
        )
    return f"rota_{number}_{secret}"


def holder(store: Store, text: str) -> tuple[Person, Token] | None:
    """Who shows the token `text`, with no more rights than its scope; None when it does not hold."""
    form = _FORM.fullmatch(text)
    if not form:
        return None
    now = store.now()
    with store.open() as db:
        row = db.execute(
            "SELECT hash, people.name, role, source, scope, label, made, until, used FROM tokens"
            " JOIN people ON people.name = person WHERE id = ? AND until > ? AND NOT disabled AND NOT must_change",
            (form[1], now),
        ).fetchone()
        if row is None or not hmac.compare_digest(row[0], digest(form[2])):
            return None
        if row[8] is None or now - row[8] >= 60:
            db.execute("UPDATE tokens SET used = ? WHERE id = ?", (now, form[1]))
    scope = Role(min(row[2], row[4]))
    return Person(row[1], scope, Source(row[3])), Token(form[1], row[1], row[5], scope, _at(row[6]), _at(row[7]), _at(now))


def tokens(store: Store, person: str | None = None) -> list[Token]:
    """The tokens of a person, or all."""
    with store.open() as db:
        rows = db.execute(
            "SELECT id, person, label, scope, made, until, used FROM tokens WHERE until > ? AND (? IS NULL OR person = ?)"
            " ORDER BY person, made, id",
            (store.now(), person, person),
        ).fetchall()
    return [
        Token(row[0], row[1], row[2], Role(row[3]), _at(row[4]), _at(row[5]), _at(row[6]) if row[6] else None)
        for row in rows
    ]


def revoke(store: Store, number: str, *, person: str | None = None) -> bool:
    """End a token (of `person` only, when given); tells whether there was one."""
    with store.open() as db:
        return (
            db.execute("DELETE FROM tokens WHERE id = ? AND (? IS NULL OR person = ?)", (number, person, person)).rowcount
            > 0
        )


def _at(stamp: int) -> datetime:
    return datetime.fromtimestamp(stamp, UTC)
