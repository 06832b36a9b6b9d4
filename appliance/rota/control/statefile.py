"""HAProxy's server-state file with the operators' intents in it.

HAProxy reads it at every start, before it listens: a member that is drained is drained from the first connection on,
even when HAProxy was killed and rotad is dead. Format: management.txt 9.3, `show servers state`, version 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rota.control import atomic
from rota.control.runtime import FORCED_DRAIN, FORCED_MAINTENANCE, RuntimeFailed, parse_servers
from rota.control.state import IntentState
from rota.control.verdicts import Key

_BACKEND, _SERVER, _OP, _ADMIN, _SINCE, _RESULT, _HEALTH = 1, 3, 5, 6, 9, 11, 12
_FLAGS = {IntentState.READY: 0, IntentState.DRAIN: FORCED_DRAIN, IntentState.HALT: FORCED_MAINTENANCE}


def with_intents(text: str, wanted: Mapping[Key, IntentState], *, forget_health: bool = False) -> str:
    """The state `text` with the flags of members set as `wanted` says; members that it does not name stay as they are.

    `forget_health` lets everybody start as up, as without a file: what was down when the node went down hours ago says
    nothing. RuntimeFailed when `text` is no whole state file.
    """
    parse_servers(text)
    lines = text.split("\n")
    for number, line in enumerate(lines[2:-2], start=2):
        fields = line.split(" ")
        backend = fields[_BACKEND].removesuffix(".v6")
        state = wanted.get((backend, fields[_SERVER]))
        if state is not None:
            others = int(fields[_ADMIN]) & ~(FORCED_DRAIN | FORCED_MAINTENANCE)
            fields[_ADMIN] = str(others | _FLAGS[state])
        if forget_health:
            fields[_OP], fields[_RESULT] = "2", "0"
            fields[_HEALTH] = str(max(int(fields[_HEALTH]), 1))
        lines[number] = " ".join(fields)
    return "\n".join(lines)


class StateFile:
    """The file at `path`, which may lie in /run, and a `copy` that outlives a reboot."""

    def __init__(self, path: Path, copy: Path) -> None:
        self._path = path
        self._copy = copy
        self.problem: str | None = None

    def keep(self, text: str, wanted: Mapping[Key, IntentState], *, durable: bool) -> None:
        """Make the file say what HAProxy said in `text`, with `wanted` in it. Never raises for what the disk does.

        `durable` for operators' words; a verdict need not outlive the machine.
        """
        self._write(with_intents(text, wanted), durable)

    def rewrite(self, wanted: Mapping[Key, IntentState], *, forget_health: bool) -> None:
        """While HAProxy is not there: put `wanted` into the file that it will read next."""
        for source in (self._path, self._copy):
            try:
                old = source.read_text(encoding="utf-8")
                if old.strip() in ("", "1"):
                    continue  # begun, and nothing in it yet
                new = with_intents(old, wanted, forget_health=forget_health)
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError, RuntimeFailed) as error:
                self.problem = f"HAProxy's state file cannot be used: {error}"
                continue
            if new != old or source is not self._path:
                self._write(new, durable=True)
            return

    def _write(self, text: str, durable: bool) -> None:
        try:
            # HAProxy reads it as root, before it gives root up
            atomic.write(self._path, text, durable=durable)
            if durable:
                atomic.write(self._copy, text)
        except OSError as error:
            self.problem = f"HAProxy's state file cannot be written: {error.strerror}"
            return
        self.problem = None
