"""The host's ends of a machine's two sockets: QEMU's monitor (QMP) and the agent in the guest."""

from __future__ import annotations

import base64
import json
import socket
import time
from itertools import count
from pathlib import Path
from threading import Condition, Thread
from typing import Any

from lib.lab import Result


class Gone(AssertionError):
    """The other end of a socket is not there (any more)."""


def connect(path: Path, *, within: float) -> socket.socket:
    """Connect to the UNIX socket `path`, which QEMU may be about to make; Gone after `within` seconds."""
    end = time.monotonic() + within
    while True:
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(str(path))
        except OSError as problem:
            line.close()
            if time.monotonic() > end:
                raise Gone(f"{path.name}: {problem}") from problem
            time.sleep(0.05)
        else:
            return line


class Monitor:
    """QMP: one command at a time, events dropped (docs/interop/qmp-spec of QEMU)."""

    def __init__(self, path: Path, *, within: float = 20) -> None:
        self._line = connect(path, within=within)
        self._file = self._line.makefile("rwb")
        self._file.readline()
        self.ask("qmp_capabilities")

    def ask(self, command: str, *, timeout: float = 60, **arguments: Any) -> Any:
        """Return what QEMU returns for `command`; AssertionError with its words when it refuses."""
        self._line.settimeout(timeout)
        self._file.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        self._file.flush()
        while line := self._file.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise AssertionError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise Gone(f"{command}: QEMU is gone")

    def human(self, line: str) -> None:
        """Give a command of the human monitor that says nothing when all is well."""
        said = self.ask("human-monitor-command", **{"command-line": line}).strip()
        if said:
            raise AssertionError(f"{line}: {said}")

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._line.close()


class Agent:
    """The root shell in the guest; calls from several threads at once are in order."""

    def __init__(self, path: Path, *, within: float = 20) -> None:
        self._line = connect(path, within=within)
        self._ids = count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        self._new = Condition()
        self._closed = False
        Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with self._line.makefile("rb") as file:
            for line in file:
                try:
                    answer = json.loads(line)
                except ValueError:  # cut off by a restore
                    continue
                with self._new:
                    self._answers[answer["id"]] = answer
                    self._new.notify_all()
        with self._new:
            self._closed = True
            self._new.notify_all()

    def run(self, *argv: str, timeout: float = 60, stdin: bytes | None = None) -> Result:
        """Run `argv` as root in the guest. Gone when no answer came within `timeout` and some: it is dead or hangs."""
        number = next(self._ids)
        request = {"id": number, "argv": argv, "timeout": timeout, "stdin": base64.b64encode(stdin or b"").decode()}
        with self._new:
            try:
                self._line.sendall(json.dumps(request).encode() + b"\n")
            except OSError as problem:
                raise Gone(f"{argv[0]}: {problem}") from problem
            self._new.wait_for(lambda: number in self._answers or self._closed, timeout + 5)
            answer = self._answers.pop(number, None)
        if answer is None:
            raise Gone(f"{' '.join(argv)}: no answer from the machine in {timeout + 5:g} s")
        return Result(
            answer["code"], _text(answer["out"]), _text(answer["err"]) if answer["code"] not in (124, 127) else answer["err"]
        )

    def close(self) -> None:
        """Hang up."""
        self._line.close()


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode(errors="replace")
