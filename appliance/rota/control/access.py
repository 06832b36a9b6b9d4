"""Who is at the other end of the UNIX socket, and what they may do. The kernel says it; nothing is believed."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import re
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

SO_PEERGROUPS = 59  # socket(7), Linux 4.13: the groups that the process had when it connected
# Root acts for a person (sudo), and the web app for whoever signed in to it: both say for whom in this header.
PERSON_HEADER = "Rota-Person"
_PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+\\-]{0,63}")


class Right(IntEnum):
    """What a caller may do; each includes the one before."""

    NONE = 0
    READ = 1
    ACT = 2


@dataclass(frozen=True, slots=True)
class Caller:
    """A process that connected: its user, and every group that it is in."""

    uid: int
    groups: frozenset[int]

    @property
    def login(self) -> str:
        """The user's name, or its number when it has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return f"uid {self.uid}"


@dataclass(frozen=True, slots=True)
class Access:
    """Which groups may read and which may act; root always may."""

    operators: frozenset[int]
    viewers: frozenset[int]

    def right(self, caller: Caller) -> Right:
        """What `caller` may do."""
        if caller.uid == 0 or caller.groups & self.operators:
            return Right.ACT
        return Right.READ if caller.groups & self.viewers else Right.NONE


def access(operators: str = "rota-operators", viewers: str = "rota-viewers") -> Access:
    """The rights by names of groups; a group that does not exist lets nobody in."""
    return Access(frozenset(_gids([operators])), frozenset(_gids([viewers])))


def _gids(names: Iterable[str]) -> Iterable[int]:
    for name in names:
        try:
            yield grp.getgrnam(name).gr_gid
        except KeyError:
            continue


def caller_of(sock: socket.socket) -> Caller:
    """The process behind a connected UNIX socket. OSError when `sock` is of another kind or the kernel will not say."""
    if sock.family != socket.AF_UNIX:
        raise OSError("only a UNIX socket knows its caller")
    _, uid, gid = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return Caller(uid, frozenset({gid, *_groups(sock, uid, gid)}))


def _groups(sock: socket.socket, uid: int, gid: int) -> Iterable[int]:
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 1024)
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        # Over 256 groups, as large directories have them: more than Python takes from the kernel.
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    return struct.unpack(f"{len(raw) // 4}I", raw)


def person_of(caller: Caller, header: str | None) -> str:
    """The name for the journal. Root may name a person; anyone else only beside their own name. ValueError if it is none."""
    login = caller.login
    if header is None or header == login:
        return login
    if not _PERSON.fullmatch(header):
        raise ValueError(f"{PERSON_HEADER} is no name of a person")
    return header if caller.uid == 0 else f"{header} via {login}"
