"""From HAProxy's rows to verdicts of members, and which of them have changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from rota.control.runtime import ANY_DRAIN, ANY_MAINTENANCE, ServerRow, Snapshot
from rota.control.state import Verdict
from rota.model import Site

Key = tuple[str, str]  # service, member


@dataclass(frozen=True)
class Change:
    """A member whose verdict is another one now."""

    key: Key
    before: Verdict
    after: Verdict


@dataclass(frozen=True)
class Standing:
    """A member's verdict and since when it holds (None: since before rotad looked)."""

    verdict: Verdict
    since: datetime | None


def is_of(backend: str, service: str) -> bool:
    """Whether a HAProxy backend belongs to a service: its own, its other family's, or one of its routes."""
    return backend == service or backend.startswith((f"{service}.", f"{service}:"))


def main_row(snapshot: Snapshot, service: str, member: str) -> ServerRow | None:
    """The row that has the member's check: in the service's own backend, or in that of its other family."""
    return snapshot.rows.get((service, member)) or snapshot.rows.get((f"{service}.v6", member))


def judge(row: ServerRow | None) -> Verdict:
    """What the checks say. In maintenance HAProxy does not ask, so nothing is known."""
    if row is None or row.admin & ANY_MAINTENANCE or not row.checked:
        return Verdict.UNKNOWN
    if row.op == 0:
        return Verdict.DOWN
    return Verdict.UP if row.check_result else Verdict.UNKNOWN


def takes_work(row: ServerRow | None) -> bool:
    """Whether new connections may go to the member, `backup` aside."""
    return row is not None and row.op != 0 and not row.admin & (ANY_MAINTENANCE | ANY_DRAIN) and row.weight > 0


def members(site: Site, node: str) -> Iterator[Key]:
    """Every member of every service of a node, in model order."""
    for name, service in site.services_of(node).items():
        for member in service.members:
            yield name, member


class Verdicts:
    """The members' verdicts in force."""

    def __init__(self) -> None:
        self._standing: dict[Key, Standing] = {}

    def of(self, key: Key) -> Standing:
        """The standing of a member; unknown when it was never seen."""
        return self._standing.get(key, Standing(Verdict.UNKNOWN, None))

    def update(self, seen: dict[Key, Verdict], now: datetime) -> list[Change]:
        """Take what is seen now, and say what has changed. The first sight of a member is no change."""
        changes = []
        for key, verdict in seen.items():
            old = self._standing.get(key)
            if old is None:
                self._standing[key] = Standing(verdict, None)
            elif old.verdict is not verdict:
                self._standing[key] = Standing(verdict, now)
                changes.append(Change(key, old.verdict, verdict))
        for key in self._standing.keys() - seen.keys():
            del self._standing[key]
        return changes
