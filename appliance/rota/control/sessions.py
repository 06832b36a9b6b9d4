"""Who is connected: HAProxy's sessions, with the AE titles that it wrote into its table of associations."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from rota.control.runtime import Runtime, RuntimeFailed

TABLE = "rota.associations"
_HEAD = re.compile(r"^0x[0-9a-f]+: \[.*?\] id=\d+ proto=(\S+) source=(\S+)$", re.M)
_POINTER = re.compile(r"0x[0-9a-f]+")
_BACKEND = re.compile(r"^  backend=(\S+) \(", re.M)
_SERVER = re.compile(r"^  server=(\S+) \(", re.M)
_AGE = re.compile(r" age=([0-9dhms]+)\)")
_TOTAL = re.compile(r"^  (req|res)=\S+ \(.* total=(\d+)\)", re.M)
_KEY = re.compile(r"\bkey=((?:\\.|[^ \\])+) ")
_WORKER = re.compile(r"^(\d+)\s+worker\s", re.M)
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True)
class Session:
    """One connection through HAProxy."""

    backend: str
    server: str | None
    caller: str
    age: float
    bytes_in: int
    bytes_out: int
    calling_ae: str | None = None
    called_ae: str | None = None
    pointer: str = ""  # HAProxy's name for it


async def sessions(runtime: Runtime) -> list[Session]:
    """Every connection that has reached a backend; raises RuntimeFailed."""
    found = parse_sessions(await runtime.command("show sess all"))
    try:
        titles = parse_titles(await runtime.command(f"show table {TABLE}"))
    except RuntimeFailed:
        titles = {}
    return [with_titles(session, titles.get(session.caller)) for session in found]


class OldProcesses:
    """HAProxy's processes from before the last reloads: they end with their last association, and know its AE titles.

    They answer through the master's socket only (management.txt 9.4). None of them is what there is when nobody answers
    there: where a reload does not go through a master, there is nobody to ask.
    """

    def __init__(self, master: Runtime) -> None:
        self._master = master

    async def pids(self) -> list[int]:
        """The old processes, from `show proc`; none when the master does not answer."""
        try:
            return parse_old(await self._master.command("show proc"))
        except RuntimeFailed:
            return []

    async def sessions(self) -> list[Session]:
        """Every connection that an old process still has."""
        found: list[Session] = []
        for pid in await self.pids():
            with contextlib.suppress(RuntimeFailed):  # it may have ended in between
                open_here = parse_sessions(await self._master.command(f"@!{pid} show sess all"))
                titles = parse_titles(await self._master.command(f"@!{pid} show table {TABLE}")) if open_here else {}
                found += [with_titles(session, titles.get(session.caller)) for session in open_here]
        return found

    async def cut(self, wanted: Callable[[Session], bool]) -> None:
        """End connections one by one: an old process calls its servers disabled, and cuts none by their name."""
        for pid in await self.pids():
            with contextlib.suppress(RuntimeFailed):
                for session in parse_sessions(await self._master.command(f"@!{pid} show sess all")):
                    if wanted(session):
                        await self._master.command(f"@!{pid} shutdown session {session.pointer}")


def _pointer(head: str) -> str:
    found = _POINTER.match(head)
    return found[0] if found else ""


def parse_old(text: str) -> list[int]:
    """Read `show proc`: the process ids below `# old workers`."""
    _, _, rest = text.partition("# old workers\n")
    return [int(pid) for pid in _WORKER.findall(rest.partition("\n#")[0])]


def with_titles(session: Session, titles: tuple[str | None, str | None] | None) -> Session:
    """`session` with its calling and called AE title, when they are known."""
    if titles is None:
        return session
    return Session(
        session.backend, session.server, session.caller, session.age, session.bytes_in, session.bytes_out, *titles,
        session.pointer,
    )  # fmt: skip


def parse_sessions(text: str) -> list[Session]:
    """Read `show sess all`; sessions of the socket itself and those without a backend are left out."""
    heads = list(_HEAD.finditer(text))
    found = []
    for head, following in zip(heads, [*heads[1:], None], strict=False):
        if head[1].startswith("unix"):
            continue
        block = text[head.end() : following.start() if following else None]
        backend, server, age = _BACKEND.search(block), _SERVER.search(block), _AGE.search(block)
        if not backend or backend[1] == "<NONE>":
            continue
        totals = {side: int(total) for side, total in _TOTAL.findall(block)}
        found.append(
            Session(
                backend=backend[1],
                server=server[1] if server and server[1] != "<none>" else None,
                caller=head[2],
                age=_seconds(age[1]) if age else 0.0,
                bytes_in=totals.get("req", 0),
                bytes_out=totals.get("res", 0),
                pointer=_pointer(head[0]),
            )
        )
    return found


def parse_titles(text: str) -> dict[str, tuple[str | None, str | None]]:
    """Read the table whose keys are `ADDRESS:PORT CALLING|CALLED`."""
    found = {}
    for raw in _KEY.findall(text):
        caller, _, titles = re.sub(r"\\(.)", r"\1", raw).partition(" ")
        calling, bar, called = titles.partition("|")
        if bar:
            found[caller] = (_printable(calling), _printable(called))
    return found


def _printable(title: str) -> str | None:
    """An AE title as a person may see it: it comes from the network, and may hold anything."""
    return "".join(c if " " <= c <= "~" else "?" for c in title.strip())[:16] or None


def _seconds(words: str) -> float:
    return float(sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([dhms])", words)))
