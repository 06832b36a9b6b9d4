"""What new associations see when a node, a daemon or a member of the lab's pair goes: the gap in service, client's view."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from bench.lib.pdus import echo_pdus
from bench.lib.processes import until
from bench.lib.report import Report, Sample, Target
from bench.lib.root import TOP

NODES = ("lb1", "lb2")
MEMBERS = {"pacs-a": "198.51.100.21", "pacs-b": "198.51.100.22"}
ADDRESS, PORT = "198.51.100.100", 104
LEAD, TAIL = 1.0, 8.0  # seconds of probing before and after a fault
READY = 90.0  # seconds in which the pair must be whole again after a fault


def container(host: str) -> str:
    """Name of the container of lab host `host`."""
    return f"rota-lab-{host}"


def podman(*words: str, check: bool = True) -> str:
    """What `podman` prints; RuntimeError with its complaint."""
    done = subprocess.run(["podman", *words], capture_output=True, text=True, timeout=120)
    if check and done.returncode:
        raise RuntimeError(f"podman {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def inside(host: str, *words: str, check: bool = True) -> str:
    """What the command `words` prints on lab host `host`."""
    return podman("exec", container(host), *words, check=check)


def holders() -> list[str]:
    """The nodes whose interface has the service address."""
    return [node for node in NODES if f" {ADDRESS}/" in inside(node, "ip", "-o", "-4", "address", "show", check=False)]


@dataclass
class Attempt:
    """One association of the prober; seconds since the fault."""

    start: float
    end: float
    outcome: str


def longest_gap(attempts: list[Attempt], interval: float) -> float:
    """Longest time in which no association was served, beyond the prober's own pace and usual duration, in seconds.

    Associations that hang on a lost packet do not count as long as a newer one is served: a client that comes new is.
    """
    served = sorted(attempt.end for attempt in attempts if attempt.outcome == "ok")
    if len(served) < 2:
        return float("inf")
    return max(0.0, max(later - earlier for earlier, later in zip(served, served[1:], strict=False)) - interval)


class Prober:
    """The prober in the client's container, from `start` to `finish`."""

    def __init__(self, interval: float, patience: float, seconds: float, called: str) -> None:
        plan = {
            "host": ADDRESS,
            "port": PORT,
            "interval": interval,
            "patience": patience,
            "seconds": seconds,
            **echo_pdus(called, "BENCH"),
        }
        script = (TOP / "bench/lib/prober.py").read_text()
        self._process = subprocess.Popen(
            ["podman", "exec", "-i", container("client"), "python3", "-c", script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(plan) + "\n")
        self._process.stdin.flush()
        self._lines: list[str] = []
        self._reader = threading.Thread(target=lambda: self._lines.extend(self._process.stdout or ()), daemon=True)
        self._reader.start()
        until(lambda: len(self._lines) * interval > LEAD / 2, within=20, what="the prober's first associations")

    def finish(self, fault: float) -> list[Attempt]:
        """All attempts; `fault` is the fault's time on this machine's monotonic clock, which containers share."""
        self._process.wait(60)
        self._reader.join(10)
        if self._process.returncode:
            raise RuntimeError(f"the prober failed: {self._process.stderr.read() if self._process.stderr else ''}")
        found = [json.loads(line) for line in self._lines]
        return [Attempt(one["start"] - fault, one["end"] - fault, one["outcome"]) for one in found]


def whole(called: str) -> bool:
    """Whether the pair is as it should be: one holder, all daemons and members up, an association served."""
    if any(inside(node, "systemctl", "is-active", "haproxy", "keepalived", check=False).split() != ["active"] * 2 for node in NODES):
        return False
    if len(holders()) != 1:
        return False
    for node in NODES:
        table = inside(
            node, "sh", "-c", "echo 'show stat -1 4 -1' | socat -t2 - UNIX-CONNECT:/run/haproxy/admin.sock", check=False
        )
        rows = [line.split(",") for line in table.splitlines() if line.startswith("pacs") and not line.startswith("#")]
        states = [row[17] for row in rows if row[1] in MEMBERS]
        if not states or any(not state.startswith("UP") for state in states):
            return False
    return True


@dataclass(frozen=True)
class Fault:
    """How to do it and how to undo it; both get the active node."""

    name: str
    do: Callable[[str], object]
    undo: Callable[[str], object]
    limit: float | None = None


def _kill_member(_active: str) -> None:
    podman("kill", "--signal", "KILL", container("pacs-a"))


FAULTS = (
    Fault("node killed", lambda node: podman("kill", container(node)), lambda node: podman("start", container(node)), 1.5),
    Fault(
        "planned stop of keepalived",
        lambda node: inside(node, "systemctl", "stop", "keepalived"),
        lambda node: inside(node, "systemctl", "start", "keepalived"),
        0.3,
    ),
    Fault(
        "haproxy killed",
        lambda node: inside(node, "systemctl", "kill", "--signal", "KILL", "haproxy"),
        lambda node: inside(node, "systemctl", "start", "haproxy"),
    ),
    Fault("member killed", _kill_member, lambda _node: podman("start", container("pacs-a"))),
)


def measure(fault: Fault, rounds: int, interval: float, called: str, report: Report) -> None:
    """Do `fault` `rounds` times and add its row to `report`."""
    gaps, lost, outcomes = [], [], Counter[str]()
    for turn in range(rounds):
        until(lambda: whole(called), within=READY, every=0.5, what=f"{fault.name}: a whole pair before round {turn + 1}")
        active = holders()[0]
        prober = Prober(interval, 3.0, LEAD + TAIL, called)
        moment = time.monotonic()
        try:
            fault.do(active)
            attempts = prober.finish(moment)
        finally:
            fault.undo(active)
        failed = [attempt for attempt in attempts if attempt.outcome != "ok"]
        gaps.append(longest_gap(attempts, interval))
        lost.append(float(len(failed)))
        outcomes.update(attempt.outcome for attempt in failed)
        print(f"{fault.name} {turn + 1}/{rounds}: gap {gaps[-1]:.2f} s, {len(failed)} failed", file=sys.stderr, flush=True)
    gap, failures = Sample.of(gaps), Sample.of(lost)
    words = ", ".join(f"{word} {count}" for word, count in outcomes.most_common()) or "–"
    report.add(fault.name, gap.show("s"), failures.show(), words)
    report.figures[fault.name] = {"gap_s": gap, "failed": failures, "outcomes": dict(outcomes), "gaps": gaps}
    if fault.limit:
        report.targets.append(Target.at_most(f"{fault.name}: new associations served again", gap.median, fault.limit, "s"))


def main() -> None:
    """Measure, and print the report."""
    parser = argparse.ArgumentParser(prog="bench/failover", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--interval", type=float, default=0.05, help="seconds between two new associations")
    parser.add_argument("--called", default="PACS_A", help="AE title that the prober calls")
    parser.add_argument("--only", action="append", choices=[fault.name for fault in FAULTS], help="this fault alone; may be repeated")
    parser.add_argument("--json", action="store_true", help="print figures for a program")
    options = parser.parse_args()
    running = podman("ps", "--format", "{{.Names}}").split()
    missing = [host for host in (*NODES, *MEMBERS, "client") if container(host) not in running]
    if missing:
        sys.exit(f"bench/failover: the lab does not run ({', '.join(missing)} missing): make lab, then playbooks/site.yml")
    report = Report(
        f"Failover as new associations see it, one each {options.interval * 1000:g} ms",
        ["fault", "gap, median (lowest–highest)", "failed of about 180", "how they failed"],
    )
    for fault in FAULTS:
        if not options.only or fault.name in options.only:
            measure(fault, options.rounds, options.interval, options.called, report)
    report.show(as_json=options.json)


if __name__ == "__main__":
    main()
