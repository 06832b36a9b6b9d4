"""Programs of `tests/pair/client`, run in the lab's client, and DCMTK's own tools there."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lib.lab import Host, Result
from lib.poll import wait_until

CLIENT = Host("client")
PROGRAMS = Path(__file__).parent.parent / "client"
INSTALLED = "/opt/rota-pair"
# Seconds for TCP, association and each answer, so that a test of a dead address ends.
LIMITS = ("-to", "3", "-ta", "5", "-td", "10")

Line = dict[str, Any]


def install() -> None:
    """Put the programs where the client finds them."""
    CLIENT.check("mkdir", "-p", INSTALLED)
    for program in sorted(PROGRAMS.glob("*.py")):
        CLIENT.write(f"{INSTALLED}/{program.name}", program.read_text())


def call(program: str, *words: str, timeout: float = 120) -> list[Line]:
    """Run a program to its end; return its JSON lines."""
    out = CLIENT.check("python3", f"{INSTALLED}/{program}.py", *words, timeout=timeout)
    return [json.loads(line) for line in out.splitlines()]


def dcmtk(tool: str, *words: str, timeout: float = 60) -> Result:
    """Run echoscu, findscu or storescu with limits."""
    return CLIENT.run(tool, *LIMITS, *words, timeout=timeout)


class Running:
    """A program in the background; leaving the block closes its stdin, which ends it, and waits for it."""

    def __init__(self, program: str, *words: str) -> None:
        argv = CLIENT.inside("python3", f"{INSTALLED}/{program}.py", *words)
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[Line] = []
        self._said = ""
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read, self._listen)]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.finish(quietly=problem is not None)

    def tell(self, words: str) -> Line:
        """Write one line to its stdin and return the line that answers it."""
        assert self._process.stdin is not None
        seen = len(self.lines)
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()
        wait_until(lambda: len(self.lines) > seen, within=60, what=f"an answer to {words!r}", every=0.01)
        return self.lines[seen]

    def wait_for(self, count: int, *, within: float = 30) -> None:
        """Wait until it has printed `count` more lines."""
        seen = len(self.lines)
        wait_until(lambda: len(self.lines) >= seen + count, within=within, what=f"{count} more lines: {self._said}")

    def wait_good(self, count: int, *, since: float = 0, within: float = 30) -> None:
        """Wait until `count` attempts that began after `since` (seconds since 1970) went well."""
        wait_until(
            lambda: sum(went_well(line) for line in self.lines if line["began"] > since) >= count,
            within=within,
            what=f"{count} good attempts; last: {self.lines[-1:]} {self._said}",
        )

    def finish(self, *, quietly: bool = False) -> list[Line]:
        """End it in order; return all its lines. An exit code other than 0 is an error."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            code = self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        for reader in self._readers:
            reader.join(timeout=10)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        assert quietly or code == 0, f"exit {code}: {self._said}"
        return self.lines

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(json.loads(line))

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said += line


def went_well(line: Line) -> bool:
    """Tell whether an attempt of any of the senders went well."""
    return bool(line["ok"]) if "ok" in line else bool(line["acks"])


def longest_gap(lines: list[Line], *, since: float) -> float:
    """Return the longest time without a new success, in seconds, from `since` on; the last failure counts up to its end."""
    ends: list[float] = sorted([since, *(line["ended"] for line in lines if went_well(line) and line["ended"] > since)])
    assert len(ends) > 1, f"nothing went well after the fault: {lines[-3:]}"
    return max(later - earlier for earlier, later in zip(ends, ends[1:], strict=False))


def page(url: str, *words: str) -> Result:
    """GET a page with curl, trusting the lab's CA only."""
    return CLIENT.run("curl", "--silent", "--show-error", "--max-time", "10", "--cacert", "/lab/ca.crt", *words, url)
