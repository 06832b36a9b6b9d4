"""People, sessions, failed sign-ins and tokens: one SQLite file that belongs to the web account alone.

Secrets are kept as hashes: who reads the file cannot sign in with what is in it.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from rota.control.clock import Clock
from rota.web.auth.people import Person, Role, Source

_SCHEMA = """
CREATE TABLE IF NOT EXISTS people (
  name TEXT PRIMARY KEY COLLATE NOCASE, role INTEGER NOT NULL, source TEXT NOT NULL, subject TEXT, password TEXT,
  must_change INTEGER NOT NULL DEFAULT 0, valid_until INTEGER, disabled INTEGER NOT NULL DEFAULT 0, seen INTEGER);
CREATE UNIQUE INDEX IF NOT EXISTS people_subject ON people (source, subject) WHERE subject IS NOT NULL;
CREATE TABLE IF NOT EXISTS sessions (
  id TEXT PRIMARY KEY, person TEXT NOT NULL REFERENCES people (name) ON DELETE CASCADE ON UPDATE CASCADE,
  began INTEGER NOT NULL, seen INTEGER NOT NULL, address TEXT NOT NULL, agent TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS sessions_person ON sessions (person);
CREATE TABLE IF NOT EXISTS failures (name TEXT PRIMARY KEY COLLATE NOCASE, count INTEGER NOT NULL, last INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS tokens (
  id TEXT PRIMARY KEY, hash TEXT NOT NULL, person TEXT NOT NULL REFERENCES people (name) ON DELETE CASCADE ON UPDATE CASCADE,
  label TEXT NOT NULL, scope INTEGER NOT NULL, made INTEGER NOT NULL, until INTEGER NOT NULL, used INTEGER);
CREATE INDEX IF NOT EXISTS tokens_person ON tokens (person);
CREATE TABLE IF NOT EXISTS audit (id INTEGER PRIMARY KEY, person TEXT NOT NULL, body TEXT NOT NULL);
"""
_PERSON = "name, role, source, must_change, disabled"
_TOUCH = 30  # seconds between two notes that a session is in use


def digest(secret: str) -> str:
    """How a secret that was drawn at random is kept: it needs no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def person_of(row: tuple[Any, ...]) -> Person:
    """The person in a row of `_PERSON`."""
    return Person(row[0], Role(row[1]), Source(row[2]), bool(row[3]), bool(row[4]))


class Store:
    """The file. Safe for threads: each use opens it anew, which costs about 0.1 ms."""

    def __init__(self, path: Path, clock: Clock, *, idle: timedelta, absolute: timedelta) -> None:
        self._path = path
        self._clock = clock
        self._idle = int(idle.total_seconds())
        self._absolute = int(absolute.total_seconds())
        path.touch(mode=0o600)
        path.chmod(0o600)
        with self.open() as db:
            db.execute("PRAGMA journal_mode=WAL")
            for statement in _SCHEMA.split(";"):
                db.execute(statement)

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """The file; each statement is committed by itself."""
        db = sqlite3.connect(self._path, timeout=5.0, isolation_level=None)
        try:
            db.execute("PRAGMA foreign_keys=ON")
            yield db
        finally:
            db.close()

    def now(self) -> int:
        """Seconds since 1970."""
        return int(self._clock.now().timestamp())

    # --- people

    def people(self) -> list[Person]:
        """Everybody, by name."""
        with self.open() as db:
            return [person_of(row) for row in db.execute(f"SELECT {_PERSON} FROM people ORDER BY name")]  # noqa: S608

    def person(self, name: str) -> Person | None:
        """One person, whatever the case of the letters."""
        with self.open() as db:
            row = db.execute(f"SELECT {_PERSON} FROM people WHERE name = ?", (name,)).fetchone()  # noqa: S608
        return person_of(row) if row else None

    def add(
        self, person: Person, *, password: str | None = None, valid_until: int | None = None, subject: str | None = None
    ) -> None:
        """A new person; `password` is its hash. ValueError when the name is taken."""
        try:
            with self.open() as db:
                db.execute(
                    "INSERT INTO people (name, role, source, subject, password, must_change, valid_until, disabled)"
                    " VALUES (?,?,?,?,?,?,?,?)",
                    (person.name, person.role, person.source, subject, password, person.must_change, valid_until,
                     person.disabled),
                )  # fmt: skip
        except sqlite3.IntegrityError:
            raise ValueError(f"there is somebody named {person.name} already") from None

    def keep_external(self, person: Person, subject: str) -> Person:
        """A person whom somebody else vouches for, known by `subject`. ValueError when the name is another's."""
        with self.open() as db:
            row = db.execute("SELECT source, subject FROM people WHERE name = ?", (person.name,)).fetchone()
            if row is not None and (row[0] != person.source or row[1] != subject):
                raise ValueError(f"the name {person.name} belongs to another person here ({row[0]})")
            db.execute(
                "INSERT INTO people (name, role, source, subject) VALUES (?,?,?,?)"
                " ON CONFLICT (source, subject) WHERE subject IS NOT NULL"
                " DO UPDATE SET role = excluded.role, name = excluded.name",
                (person.name, person.role, person.source, subject),
            )
            found = db.execute(
                "SELECT disabled FROM people WHERE source = ? AND subject = ?", (person.source, subject)
            ).fetchone()
        return replace(person, disabled=bool(found[0]))

    def password(self, name: str) -> tuple[str | None, int | None]:
        """The hash of a person's password, and until when it holds (a one-time password)."""
        with self.open() as db:
            row = db.execute("SELECT password, valid_until FROM people WHERE name = ?", (name,)).fetchone()
        return (row[0], row[1]) if row else (None, None)

    def set_password(self, name: str, password: str, *, must_change: bool = False, valid_until: int | None = None) -> None:
        """Give a person another password, as its hash."""
        with self.open() as db:
            db.execute(
                "UPDATE people SET password = ?, must_change = ?, valid_until = ? WHERE name = ?",
                (password, must_change, valid_until, name),
            )

    def change(self, name: str, *, role: Role | None = None, disabled: bool | None = None) -> None:
        """Change what a person may do. ValueError when no administrator would be left."""
        with self.open() as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute(
                "UPDATE people SET role = coalesce(?, role), disabled = coalesce(?, disabled) WHERE name = ?",
                (role, disabled, name),
            )
            self._keep_an_administrator(db)

    def remove(self, name: str) -> None:
        """Remove a person with their sessions and tokens. ValueError when no administrator would be left."""
        with self.open() as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM people WHERE name = ?", (name,))
            self._keep_an_administrator(db)

    @staticmethod
    def _keep_an_administrator(db: sqlite3.Connection) -> None:
        left = db.execute("SELECT count(*) FROM people WHERE role = ? AND NOT disabled", (Role.ADMINISTRATOR,)).fetchone()[0]
        db.execute("COMMIT" if left else "ROLLBACK")
        if not left:
            raise ValueError("nobody would be left to manage people")

    # --- sessions

    def begin(self, person: str, *, address: str = "", agent: str = "") -> str:
        """A new session; what is returned is for its cookie, and is kept nowhere here."""
        sid, now = secrets.token_urlsafe(32), self.now()
        with self.open() as db:
            db.execute("DELETE FROM sessions WHERE seen < ? OR began < ?", (now - self._idle, now - self._absolute))
            db.execute(
                "INSERT INTO sessions VALUES (?,?,?,?,?,?)", (digest(sid), person, now, now, address[:64], agent[:200])
            )
            db.execute("UPDATE people SET seen = ? WHERE name = ?", (now, person))
        return sid

    def session(self, sid: str, *, touch: bool = True) -> Person | None:
        """Whose session that is, if it still holds; `touch` notes that it is in use."""
        key, now = digest(sid), self.now()
        with self.open() as db:
            row = db.execute(
                "SELECT name, role, source, must_change, disabled, sessions.seen FROM sessions"
                " JOIN people ON people.name = sessions.person"
                " WHERE id = ? AND sessions.seen > ? AND began > ? AND NOT disabled",
                (key, now - self._idle, now - self._absolute),
            ).fetchone()
            if row is None:
                return None
            if touch and now - row[5] >= _TOUCH:
                db.execute("UPDATE sessions SET seen = ? WHERE id = ?", (now, key))
        return person_of(row)

    def end(self, sid: str) -> None:
        """End one session."""
        with self.open() as db:
            db.execute("DELETE FROM sessions WHERE id = ?", (digest(sid),))

    def end_all(self, person: str, *, but: str | None = None) -> int:
        """End the sessions of a person, except `but`; tells how many."""
        with self.open() as db:
            return db.execute(
                "DELETE FROM sessions WHERE person = ? AND id <> ?", (person, digest(but) if but else "")
            ).rowcount

    # --- audit lines that wait for rotad

    def keep_audit(self, person: str, body: str, *, most: int) -> None:
        """Let a line wait; beyond `most` the oldest go."""
        with self.open() as db:
            number = db.execute("INSERT INTO audit (person, body) VALUES (?,?)", (person, body)).lastrowid or 0
            db.execute("DELETE FROM audit WHERE id <= ?", (number - most,))

    def waiting_audit(self) -> list[tuple[int, str, str]]:
        """What waits, oldest first: number, person, body."""
        with self.open() as db:
            return db.execute("SELECT id, person, body FROM audit ORDER BY id LIMIT 1000").fetchall()

    def drop_audit(self, number: int) -> None:
        """A line has been told."""
        with self.open() as db:
            db.execute("DELETE FROM audit WHERE id = ?", (number,))
