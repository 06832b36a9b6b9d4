"""HAProxy's admin socket: one command, one answer, bounded in time and size, and never half believed.

Formats: management.txt of HAProxy 3.0, sections 9.1 (CSV) and 9.3 (commands).
"""

from __future__ import annotations

import asyncio
import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

# SRV_ADMF_* of HAProxy
FORCED_MAINTENANCE = 0x01
CONFIGURED_MAINTENANCE = 0x04
ANY_MAINTENANCE = 0x01 | 0x02 | 0x04 | 0x20 | 0x40
FORCED_DRAIN = 0x08
ANY_DRAIN = 0x08 | 0x10

_HEADER = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight"
    " srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state"
)
_FIELDS = len(_HEADER.split()) - 1
_UNDER_WAY = 0x01  # CHK_ST_INPROGRESS
_SAFE = re.compile(r"[A-Za-z0-9_.:-]+\Z")


class RuntimeFailed(Exception):
    """HAProxy did not answer, or not in words that can be believed; the text is for people."""


class ServerRow(NamedTuple):
    """One line of `show servers state`: a member in one backend."""

    backend: str
    server: str
    server_id: int
    op: int  # 0 stopped, 1 starting, 2 running, 3 stopping softly
    admin: int
    weight: int  # as configured
    check_result: int  # 0 unknown, 1 neutral, 2 failed, 3 passed, 4 passed on condition
    check_state: int
    agent_state: int

    @property
    def checked(self) -> bool:
        """Whether a check is configured here (a tracking server has none of its own)."""
        return bool(self.check_state & 0x02)


@dataclass(frozen=True)
class Snapshot:
    """HAProxy's servers at one moment; `text` is the answer itself, as its state file wants it."""

    rows: dict[tuple[str, str], ServerRow]
    text: str


@dataclass(frozen=True)
class ServerStat:
    """What `show stat` adds for a member in a backend."""

    sessions: int
    limit: int | None
    reason: str
    agent: str
    status: str


@dataclass(frozen=True)
class ProcessInfo:
    """Which HAProxy answers."""

    pid: int
    version: str
    uptime: int


class Runtime:
    """The admin socket at `path`. `deadline` is seconds for a whole command; an answer over `limit` bytes is refused.

    `master`: the master's socket, which waits for more until the asker's side is closed.
    """

    def __init__(self, path: Path, *, deadline: float = 2.0, limit: int = 32 * 1024 * 1024, master: bool = False) -> None:
        self._path, self._master = str(path), master
        self._deadline = deadline
        self._limit = limit
        self._known = Known()

    async def command(self, *commands: str) -> str:
        """Send commands in one go and return everything that came back; raises RuntimeFailed."""
        line = "; ".join(commands)
        if "\n" in line or not line.isascii():
            raise ValueError(f"{line!r} is not a command")
        try:
            async with asyncio.timeout(self._deadline):
                return await self._talk(line)
        except TimeoutError:
            raise RuntimeFailed(f"HAProxy did not answer within {self._deadline:g} s") from None
        except (OSError, UnicodeDecodeError) as error:
            raise RuntimeFailed(f"HAProxy does not answer: {getattr(error, 'strerror', None) or error}") from None

    async def _talk(self, line: str) -> str:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=1024 * 1024)
        try:
            writer.write(line.encode("ascii") + b"\n")
            if self._master:
                writer.write_eof()
            parts, size = [], 0
            while part := await reader.read(1024 * 1024):
                parts.append(part)
                size += len(part)
                if size > self._limit:
                    raise RuntimeFailed(f"HAProxy's answer is over {self._limit} bytes")
            return b"".join(parts).decode("utf-8")
        finally:
            writer.close()

    async def servers(self) -> Snapshot:
        """All servers; raises RuntimeFailed also for half an answer and for garbage."""
        return parse_servers(await self.command("show servers state"), self._known)

    def forget(self) -> None:
        """Another HAProxy answers from now on: results of the old one are nothing to it."""
        self._known = Known()

    async def stats(self) -> dict[tuple[str, str], ServerStat]:
        """Sessions and last reasons of all servers."""
        return parse_stats(await self.command("show stat -1 4 -1"))

    async def info(self) -> ProcessInfo:
        """Which process answers, and for how long it has run."""
        return parse_info(await self.command("show info"))

    async def tables(self) -> list[str]:
        """Names of the stick tables."""
        return re.findall(r"^# table: ([^,\n]+),", await self.command("show table"), re.M)

    async def act(self, commands: Iterable[str]) -> list[str]:
        """Run commands that answer nothing when they succeed; returns HAProxy's complaints.

        Many are sent in few connections: HAProxy reads at most one buffer (16 KiB) of a line.
        """
        complaints: list[str] = []
        batch: list[str] = []
        for command in [*commands, ""]:
            if batch and (not command or sum(map(len, batch)) > 8000):
                answer = await self.command(*batch)
                complaints += [line for line in answer.splitlines() if line.strip()]
                batch = []
            if command:
                batch.append(command)
        return complaints


def target(backend: str, server: str) -> str:
    """`backend/server` for a command; ValueError when a name could be read as more than a name."""
    if not _SAFE.match(backend) or not _SAFE.match(server):
        raise ValueError(f"{backend}/{server} is not a name")
    return f"{backend}/{server}"


@dataclass
class Known:
    """What was read before: members with what their line said of them, and the last answer's lines."""

    rows: dict[tuple[str, str], tuple[tuple[str, ...], ServerRow]] = field(default_factory=dict)
    lines: dict[str, ServerRow] = field(default_factory=dict)


def parse_servers(text: str, known: Known | None = None) -> Snapshot:
    """Read `show servers state`. An answer that does not end as a whole one ends is not believed.

    While a check is under way HAProxy gives its result as unknown: with `known`, which this fills, a member keeps the
    result that it had. A thousand lines that did not change cost little then, too.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines[0] != "1" or not lines[1].startswith(_HEADER):
        raise RuntimeFailed(f"HAProxy's list of servers begins with {text[:40]!r}")
    if lines[-1] or lines[-2]:
        raise RuntimeFailed("HAProxy's list of servers is cut off")
    spaces = lines[1].count(" ") - 1
    rows: dict[tuple[str, str], ServerRow] = {}
    known = Known() if known is None else known
    seen: dict[str, ServerRow] = {}
    try:
        for line in lines[2:-2]:
            if same := known.lines.get(line):
                seen[line] = rows[same.backend, same.server] = same
                continue
            if line.count(" ") != spaces:
                raise RuntimeFailed(f"HAProxy's list of servers has a broken line: {line[:80]!r}")
            f = line.split(" ", _FIELDS)
            key = (f[1], f[3])
            raw = (f[2], f[5], f[6], f[8], f[11], f[13], f[14])
            before = known.rows.get(key)
            if before is None or before[0] != raw:
                result = int(f[11]) or (before[1].check_result if before else 0)
                state, agent = int(f[13]) & ~_UNDER_WAY, int(f[14]) & ~_UNDER_WAY
                row = ServerRow(f[1], f[3], int(f[2]), int(f[5]), int(f[6]), int(f[8]), result, state, agent)
                before = known.rows[key] = (raw, row)
            seen[line] = rows[key] = before[1]
    except (ValueError, IndexError):
        raise RuntimeFailed(f"HAProxy's list of servers has a broken line: {line[:80]!r}") from None
    known.lines = seen
    return Snapshot(rows, text)


def parse_stats(text: str) -> dict[tuple[str, str], ServerStat]:
    """Read the CSV of `show stat` for servers."""
    if not text.startswith("# pxname,svname,") or not text.endswith("\n\n"):
        raise RuntimeFailed(f"HAProxy's statistics begin with {text[:40]!r}, or are cut off")
    found = {}
    rows = csv.reader(text[2:].rstrip("\n").split("\n"))
    head = next(rows)
    try:
        at = {name: head.index(name) for name in ("scur", "slim", "last_chk", "last_agt", "status", "check_status")}
        for row in rows:
            last, kind = row[at["last_chk"]], row[at["check_status"]].removeprefix("* ")
            found[row[0], row[1]] = ServerStat(
                sessions=int(row[at["scur"]] or 0),
                limit=int(row[at["slim"]]) if row[at["slim"]] else None,
                reason=_words(kind, last),
                agent=row[at["last_agt"]],
                status=row[at["status"]],
            )
    except (ValueError, IndexError):
        raise RuntimeFailed("HAProxy's statistics have a broken line") from None
    return found


_KINDS = {
    "INI": "not asked yet",
    "L4OK": "connects",
    "L4TOUT": "no answer to the connection",
    "L4CON": "refused",
    "L6OK": "TLS handshake done",
    "L6TOUT": "no answer to the TLS handshake",
    "L6RSP": "bad TLS answer",
    "L7OK": "answers",
    "L7TOUT": "connects, then silent",
    "L7RSP": "wrong answer",
    "L7STS": "error answer",
    "SOCKERR": "the node could not open a socket",
    "NONE": "not asked",
    "UNK": "not asked yet",
}


def _words(kind: str, last: str) -> str:
    """A reason for people: what HAProxy's check said, or what its code means."""
    plain = re.sub(r"[\x00-\x1f\x7f]+", " ", last).strip()
    return (plain or _KINDS.get(kind, kind))[:200]


def parse_info(text: str) -> ProcessInfo:
    """Read what is needed of `show info`."""
    fields = dict(re.findall(r"^([A-Za-z_]+): (.*)$", text, re.M))
    try:
        return ProcessInfo(int(fields["Pid"]), fields["Version"], int(fields["Uptime_sec"]))
    except (KeyError, ValueError):
        raise RuntimeFailed(f"HAProxy's information about itself begins with {text[:40]!r}") from None
