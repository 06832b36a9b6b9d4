"""net-snmp's side: the `pass_persist` protocol of snmpd.conf(5) on stdin and stdout.

    pass_persist .1.3.6.1.4.1.32473.51 /opt/rota/bin/python -m rota.snmp.agent

snmpd waits for each answer and does nothing else meanwhile, so a rotad that is silent is asked only now and then.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from rota.control.state import Status
from rota.said import Said
from rota.snmp.tree import BASE, Oid, Value, after, objects

_FRESH = 5.0  # seconds for which one status serves: a walk asks for hundreds of objects
_PATIENCE = 2.0


def oid_of(text: str) -> Oid | None:
    """`.1.3.6` as numbers; None when it is none."""
    parts = text.strip().removeprefix(".").split(".")
    if not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts):
        return None
    return tuple(int(part) for part in parts)


class Agent:
    """Answers for the tree below `base`. `status` raises Said when rotad is silent."""

    def __init__(self, status: Callable[[], Status], base: Oid = BASE, steady: Callable[[], float] = time.monotonic) -> None:
        self._status, self._base, self._steady = status, base, steady
        self._objects: dict[Oid, Value] = {}
        self._asked = float("-inf")

    def _known(self) -> dict[Oid, Value]:
        now = self._steady()
        if now - self._asked >= _FRESH:
            try:
                self._objects = objects(self._status(), self._base)
            except Said:
                # nothing rather than what was true a while ago: managers alarm on a missing object
                self._objects = {}
            self._asked = self._steady()
        return self._objects

    def answer(self, verb: str, argument: str) -> str:
        """The lines for one question."""
        oid = oid_of(argument)
        if oid is None:
            return "NONE\n"
        found = self._known()
        wanted: Oid | None = oid if verb == "get" else after(found, oid)
        if wanted is None or wanted not in found:
            return "NONE\n"
        value = found[wanted]
        return f".{'.'.join(map(str, wanted))}\n{value.kind}\n{value.text}\n"

    def serve(self, questions: TextIO, answers: TextIO) -> None:
        """Until snmpd closes the pipe, or sends an empty line."""
        while line := questions.readline().strip():
            if line == "PING":
                text = "PONG\n"
            elif line in ("get", "getnext"):
                text = self.answer(line, questions.readline())
            elif line == "set":
                questions.readline()
                questions.readline()
                text = "not-writable\n"
            else:
                text = "NONE\n"
            answers.write(text)
            answers.flush()


def main(argv: list[str] | None = None) -> int:
    """Serve on stdin and stdout; an argument is another base."""
    from rota.control.client import Rotad

    words = sys.argv[1:] if argv is None else argv
    base = oid_of(words[0]) if words else BASE
    if base is None:
        print(f"rota: {words[0]} is not an OID", file=sys.stderr)
        return 1
    rotad = Rotad(timeout=_PATIENCE)
    Agent(rotad.status, base).serve(sys.stdin, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
