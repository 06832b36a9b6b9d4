"""Failed sign-ins: five are free, then each makes the next wait longer. Nobody is locked out for good.

Unknown names are counted as known ones, so that a wait tells nothing. With the waits an attacker has about ten tries an
hour (OWASP ASVS 2.2.1 allows a hundred).
"""

from __future__ import annotations

from rota.web.auth.store import Store, digest

FREE = 5
FIRST_WAIT = 30  # seconds
LONGEST_WAIT = 900
_FORGET = 24 * 3600


def wait(store: Store, name: str) -> int:
    """Seconds until `name` may try again; 0: now."""
    with store.open() as db:
        row = db.execute("SELECT count, last FROM failures WHERE name = ?", (_key(name),)).fetchone()
    if row is None or row[0] < FREE:
        return 0
    pause: int = min(FIRST_WAIT * 2 ** min(row[0] - FREE, 10), LONGEST_WAIT)
    return max(0, int(row[1]) + pause - store.now())


def begin(store: Store, name: str) -> int:
    """Count a try before it is judged, so that many at once count too. Tells how many have failed before it."""
    now = store.now()
    with store.open() as db:
        db.execute("DELETE FROM failures WHERE last < ?", (now - _FORGET,))
        (count,) = db.execute(
            "INSERT INTO failures VALUES (?, 1, ?) ON CONFLICT DO UPDATE SET count = count + 1, last = ? RETURNING count",
            (_key(name), now, now),
        ).fetchone()
    return int(count) - 1


def clear(store: Store, name: str) -> bool:
    """Forget the failures of `name`; tells whether there were any."""
    with store.open() as db:
        return db.execute("DELETE FROM failures WHERE name = ?", (_key(name),)).rowcount > 0


def _key(name: str) -> str:
    """Not the name itself: people type passwords into the wrong field."""
    return digest(name.lower())
