"""The event journal: SQLite, bounded by age and size, never a reason to stop.

An event is known over the pair by (node, era, number): `era` is drawn when a file is begun, so a journal that had to be
begun anew cannot be taken for the old one, and the peer gives the old one's events back. Times order what people read;
numbers alone decide what the peer still lacks, so no clock can lose an event.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rota.control import atomic
from rota.control.clock import Clock
from rota.control.state import Event

log = logging.getLogger("rota.journal")

WAITING = 10_000  # events kept in memory while the disk takes none
CHECKPOINT = 2 * 1024 * 1024  # bytes of SQLite's log that are put into the file
SLICE = 500  # events that are written or removed while the event loop stands still
_COLUMNS = "id, at, node, kind, service, member, before, after, reason, person"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
  id INTEGER PRIMARY KEY, at INTEGER NOT NULL, node TEXT NOT NULL, era TEXT NOT NULL, number INTEGER NOT NULL,
  kind TEXT NOT NULL, service TEXT, member TEXT, before TEXT, after TEXT, reason TEXT, person TEXT);
CREATE UNIQUE INDEX IF NOT EXISTS events_origin ON events (node, era, number);
CREATE INDEX IF NOT EXISTS events_at ON events (at, id);
CREATE INDEX IF NOT EXISTS events_service ON events (service, at, id);
CREATE TABLE IF NOT EXISTS known (node TEXT, era TEXT, last INTEGER NOT NULL, PRIMARY KEY (node, era)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
Row = tuple[Any, ...]
Vector = dict[str, int]  # "node/era" → highest number


def _stamp(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000)


def _time(stamp: int) -> datetime:
    return datetime.fromtimestamp(stamp / 1_000_000, UTC)


def _event(row: Row) -> Event:
    """An event from a row that this module wrote: checked when it was written, not again."""
    return Event.model_construct(
        id=row[0], at=_time(row[1]), node=row[2], kind=row[3], service=row[4], member=row[5], before=row[6], after=row[7],
        reason=row[8], person=row[9],
    )  # fmt: skip


def _asked(
    since: datetime | None, until: datetime | None, service: str | None, limit: int, general: bool
) -> tuple[str, list[Any]]:
    """The newest `limit` that match, newest first."""
    where, values = ["1"], []
    for test, value in (
        ("at >= ?", since and _stamp(since)),
        ("at <= ?", until and _stamp(until)),
        ("(service = ? OR service IS NULL)" if general else "service = ?", service),
    ):
        if value is not None:
            where.append(test)
            values.append(value)
    statement = f"SELECT {_COLUMNS} FROM events WHERE {' AND '.join(where)} ORDER BY at DESC, id DESC LIMIT ?"  # noqa: S608
    return statement, [*values, limit]


def _together(rows: Sequence[Row], waiting: Sequence[Event], limit: int) -> list[Event]:
    """What is in the file, newest first, and what waited, each once; ascending."""
    found = [_event(row) for row in rows]
    if waiting:
        kept = {event.id for event in found}
        found += [event for event in waiting if event.id not in kept]
        found = sorted(found, key=lambda e: (e.at, e.id), reverse=True)[:limit]
    return found[::-1]


class Journal:
    """The journal of one node. Not for two threads at once, but for `sync` and what `reader` gives.

    `record` never fails and touches no disk. `flush` hands what waits to the kernel, which a crash of rotad does not undo.
    `sync` waits until it is on the disk, which the loss of power does not undo; it belongs into a thread. A file that
    SQLite calls damaged is set aside and a new one begun: `damage` says so until it is read.
    """

    def __init__(self, path: Path, node: str, clock: Clock, *, days: int, mebibytes: int) -> None:
        self._path = path
        self._node = node
        self._clock = clock
        self._days = days
        self._bytes = mebibytes * 1024 * 1024
        self._waiting: list[tuple[Event, int]] = []
        self._unsaved_alive: datetime | None = None
        self.lost = 0  # events that found no room even in memory
        self.damage: str | None = None
        self.problem: str | None = None  # why nothing can be written now
        self.last_alive: datetime | None = None
        self._db: sqlite3.Connection | None = None
        self._next_id, self._number, self.era = 1, 1, secrets.token_hex(8)
        self._written = self._safe = 0  # highest own number that the kernel has, and that the disk has
        self._open()

    def _open(self) -> None:
        try:
            self._connect()
        except sqlite3.DatabaseError as error:
            self._failed(error)

    def _connect(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._path.chmod(0o600)
        db = sqlite3.connect(self._path, timeout=2.0, isolation_level=None, check_same_thread=False)
        try:
            if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                db.execute("PRAGMA auto_vacuum=INCREMENTAL")
            db.execute("PRAGMA journal_mode=WAL")
            # The waiting for the disk is `sync`, beside the event loop: with FULL a slow disk would hold up every check.
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("PRAGMA wal_autocheckpoint=0")
            db.execute("PRAGMA journal_size_limit=4194304")
            if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(found)
            db.executescript(_SCHEMA)
            db.execute("INSERT OR IGNORE INTO facts VALUES ('era', ?)", (self.era,))
            self.era = db.execute("SELECT value FROM facts WHERE name = 'era'").fetchone()[0]
            highest = db.execute("SELECT max(id) FROM events").fetchone()[0] or 0
            self._next_id = max(self._next_id, highest + 1)
            row = db.execute("SELECT last FROM known WHERE node = ? AND era = ?", (self._node, self.era)).fetchone()
            self._number = max(self._number, (row[0] if row else 0) + 1)
            self._written = self._safe = row[0] if row else 0
            alive = db.execute("SELECT value FROM facts WHERE name = 'alive'").fetchone()
            self.last_alive = datetime.fromisoformat(alive[0]) if alive else None
        except BaseException:
            db.close()
            raise
        self._db, self.problem = db, None

    def _failed(self, error: sqlite3.Error) -> None:
        """Decide between a file to wait for and a file to give up."""
        if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
            # full, read-only, locked: the file is good, and may be written later
            self.problem = f"the journal cannot be written: {error}"
            return
        self.close()
        stamp = self._clock.now().strftime("%Y%m%dT%H%M%SZ")
        try:
            aside = atomic.set_aside(self._path, stamp)
            for suffix in ("-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    atomic.set_aside(self._path.with_name(self._path.name + suffix), stamp)
            self.damage = f"the journal was damaged ({error}); it is set aside as {aside.name}, and a new one is begun"
            log.error("%s", self.damage)
            self.era, self._number = secrets.token_hex(8), 1
            # what waits gets numbers of the new era
            self._waiting = [(event, self._take_number()) for event, _ in self._waiting]
            self._connect()
        except (OSError, sqlite3.Error) as second:
            self.problem = f"the journal is damaged and no new one can be begun: {second}"

    def _take_number(self) -> int:
        self._number += 1
        return self._number - 1

    def record(self, **fields: Any) -> Event:
        """A new event of this node, now; it waits in memory until the next `flush`."""
        event = Event(id=self._next_id, at=self._clock.now(), node=self._node, **fields)
        self._next_id += 1
        if len(self._waiting) >= WAITING:
            self.lost += 1
        else:
            self._waiting.append((event, self._take_number()))
        return event

    def alive(self) -> None:
        """Note that rotad lives now; goes with the next `flush`."""
        self._unsaved_alive = self._clock.now()

    @property
    def waiting(self) -> int:
        """How many events are not on the disk yet."""
        return len(self._waiting)

    def flush(self, *, most: int = WAITING) -> bool:
        """Write what waits, `most` events of it; tell whether all is written. Never raises for what the disk does."""
        if self._db is None:
            self._open()
        if self._db is None:
            return False
        if not self._waiting and self._unsaved_alive is None:
            return self.problem is None
        part = self._waiting[:most]
        rows = [self._row(event, self.era, number) for event, number in part]
        try:
            self._insert(rows, alive=self._unsaved_alive)
        except sqlite3.Error as error:
            self._failed(error)
            return False
        self._written = max([self._written, *(number for _, number in part)])
        del self._waiting[:most]
        self._unsaved_alive = None
        self.problem = None
        return not self._waiting

    def sync(self) -> str | None:
        """Wait until what `flush` wrote is on the disk, and keep the log short; for a thread. Returns what went wrong."""
        log_file, era, written = self._path.with_name(self._path.name + "-wal"), self.era, self._written
        try:
            descriptor = os.open(log_file, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.fdatasync(descriptor)
                long = os.fstat(descriptor).st_size > CHECKPOINT
            finally:
                os.close(descriptor)
            if era == self.era:
                self._safe = max(self._safe, written)
            if long:
                with contextlib.closing(sqlite3.connect(self._path, timeout=0.0, isolation_level=None)) as db:
                    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except FileNotFoundError:
            return None  # nothing was written yet, or the file was just set aside
        except (OSError, sqlite3.Error) as error:
            return f"the journal may not be on the disk: {error}"
        return None

    @staticmethod
    def _row(event: Event, era: str, number: int) -> Row:
        return (
            event.id, _stamp(event.at), event.node, era, number, event.kind, event.service, event.member, event.before,
            event.after, event.reason, event.person,
        )  # fmt: skip

    def _insert(self, rows: Iterable[Row], *, alive: datetime | None = None) -> None:
        assert self._db is not None  # noqa: S101 (callers looked)
        rows = list(rows)
        last: dict[tuple[str, str], int] = {}
        for _, _, node, era, number, *_ in rows:
            last[node, era] = max(number, last.get((node, era), 0))
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT OR IGNORE INTO events VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", rows)
            self._db.executemany(
                "INSERT INTO known VALUES (?,?,?) ON CONFLICT DO UPDATE SET last = max(last, excluded.last)",
                [(*journal, number) for journal, number in last.items()],
            )
            if alive is not None:
                self._db.execute("INSERT OR REPLACE INTO facts VALUES ('alive', ?)", (alive.isoformat(),))
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    def query(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        service: str | None = None,
        limit: int = 1000,
        general: bool = False,
    ) -> list[Event]:
        """Events by time, both ends included, ascending; the newest `limit` when more match. What waits is among them.

        With `general` also those about no service, beside those of `service`.
        """
        statement, values = _asked(since, until, service, limit, general)
        return _together(self._select(statement, values), self._matching(since, until, service, general), limit)

    def reader(
        self, since: datetime | None, until: datetime | None, service: str | None, limit: int, general: bool = False
    ) -> Callable[[], list[Event]]:
        """The same question, to be asked in a thread: thousands of events take longer than every check may have to wait.

        What waits is looked at now. Raises sqlite3.Error; `query` then knows what to do about the file.
        """
        waiting, path = self._matching(since, until, service, general), self._path
        statement, values = _asked(since, until, service, limit, general)

        def read() -> list[Event]:
            with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)) as db:
                return _together(db.execute(statement, values).fetchall(), waiting, limit)

        return read

    def _matching(self, since: datetime | None, until: datetime | None, service: str | None, general: bool) -> list[Event]:
        return [
            event
            for event, _ in self._waiting
            if (since is None or event.at >= since) and (until is None or event.at <= until)
            and (service is None or event.service == service or (general and event.service is None))
        ]  # fmt: skip

    def _select(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        if self._db is None:
            return []
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            self._failed(error)
            return []

    # --- what the peer needs

    def vector(self) -> Vector:
        """What is known: the highest number of each journal."""
        return {f"{node}/{era}": last for node, era, last in self._select("SELECT node, era, last FROM known")}

    def after(self, vector: Vector, limit: int = 500) -> list[list[Any]]:
        """Rows that somebody with `vector` lacks, each journal in the order of its numbers, at most `limit`.

        None of this node that the loss of power could undo: its number would be used again, for an event that the other
        side then never takes.
        """
        rows: list[list[Any]] = []
        for node, era in self._select("SELECT node, era FROM known ORDER BY node, era"):
            if len(rows) >= limit:
                break
            rows += [
                list(row[1:])
                for row in self._select(
                    "SELECT * FROM events WHERE node = ? AND era = ? AND number > ? AND number <= ? ORDER BY number LIMIT ?",
                    (node, era, vector.get(f"{node}/{era}", 0), self._highest(node, era), limit - len(rows)),
                )
            ]
        return rows

    def _highest(self, node: str, era: str) -> int:
        return self._safe if (node, era) == (self._node, self.era) else 2**62

    def take(self, rows: Iterable[Sequence[Any]]) -> list[Event]:
        """Store events from the peer; returns those that were new. ValueError for what is no event."""
        known = self.vector()
        fresh: list[Row] = []
        for at, node, era, number, *rest in rows:
            if not isinstance(era, str) or not isinstance(number, int) or not isinstance(at, int):
                raise ValueError("an event without its place")
            names = ("kind", "service", "member", "before", "after", "reason", "person")
            event = Event(id=self._next_id, at=_time(at), node=node, **dict(zip(names, rest, strict=True)))
            if number > known.get(f"{node}/{era}", 0):
                fresh.append(self._row(event, era, number))
                self._next_id += 1
        if not fresh or self._db is None:
            return []
        try:
            self._insert(fresh)
        except sqlite3.Error as error:
            self._failed(error)
            return []  # not noted as known either: the peer gives them again
        return [_event((row[0], row[1], row[2], *row[5:])) for row in fresh]

    # --- bounds

    def prune(self, *, by_age: bool) -> int:
        """Remove a slice of what is too old (only with `by_age`: not while the clock is doubtful) or too much.

        Returns how many went; while it is not 0, there may be more.
        """
        if self._db is None:
            return 0
        removed = 0
        try:
            if by_age:
                oldest = _stamp(self._clock.now() - timedelta(days=self._days))
                removed = self._remove("WHERE at < ? ORDER BY at", oldest)
            if not removed and self._size() > self._bytes:
                removed = self._remove("ORDER BY id")
            if removed:
                self._db.executescript("PRAGMA incremental_vacuum")  # `execute` would free a single page
        except sqlite3.Error as error:
            self._failed(error)
        return removed

    def _remove(self, which: str, *values: Any) -> int:
        assert self._db is not None  # noqa: S101 (callers looked)
        ids = f"SELECT id FROM events {which} LIMIT {SLICE}"  # noqa: S608
        return self._db.execute(f"DELETE FROM events WHERE id IN ({ids})", values).rowcount  # noqa: S608

    def _size(self) -> int:
        assert self._db is not None  # noqa: S101 (callers looked)
        pages, free, size = (
            self._db.execute(f"PRAGMA {p}").fetchone()[0] for p in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def close(self) -> None:
        """Close the file; what waits and could not be written is gone with the process."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None
