"""What new associations see when a node, a daemon or a member of the lab's pair goes: the gap in service, client's view."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from bench.lib.probing import Prober, longest_gap
from bench.lib.processes import until
from bench.lib.report import Report, Sample, Target, show

NODES = ("lb1", "lb2")
MEMBERS = {"pacs-a": "198.51.100.21", "pacs-b": "198.51.100.22"}
ADDRESS, PORT = "198.51.100.100", 104
TAIL = 6.0  # seconds of probing after a fault
_SHOW_STAT = """
import socket
client = socket.socket(socket.AF_UNIX)
client.connect("/run/haproxy/admin.sock")
client.sendall(b"show stat -1 4 -1\\n")
print("".join(part.decode() for part in iter(lambda: client.recv(65536), b"")))
"""
# keepalived is deaf for vrrp.start_delay (3 s) after its start: a pair is only whole when that is over
SETTLED = 5.0
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


def whole() -> bool:
    """Whether the pair is as it should be: one holder, all daemons and members up, an association served."""
    if any(
        inside(node, "systemctl", "is-active", "haproxy", "keepalived", check=False).split() != ["active"] * 2
        for node in NODES
    ):
        return False
    if len(holders()) != 1:
        return False
    for node in NODES:
        table = inside(node, "python3", "-c", _SHOW_STAT, check=False)
        rows = [line.split(",") for line in table.splitlines() if line.startswith("pacs") and not line.startswith("#")]
        states = [row[17] for row in rows if row[1] in MEMBERS]
        if not states or any(not state.startswith("UP") for state in states):
            return False
    return True


def settle(what: str) -> None:
    """Return when the pair has been whole for a while."""
    since = [time.monotonic()]

    def settled() -> bool:
        if not whole():
            since[0] = time.monotonic()
        return time.monotonic() - since[0] > SETTLED

    until(settled, within=READY, every=0.5, what=what)


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
        "planned failover",
        lambda node: inside(node, "rota", "failover", "--reason", "bench/failover", "--group", "imaging"),
        lambda _node: None,
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
        settle(f"{fault.name}: a whole pair before round {turn + 1}")
        active = holders()[0]
        client = ["podman", "exec", "--interactive", container("client")]
        prober = Prober(client, ADDRESS, PORT, called=called, interval=interval, seconds=TAIL)
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
    parser.add_argument(
        "--only", action="append", choices=[fault.name for fault in FAULTS], help="this fault alone; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="print figures for a program")
    options = parser.parse_args()
    running = podman("ps", "--format", "{{.Names}}").split()
    missing = [host for host in (*NODES, *MEMBERS, "client") if container(host) not in running]
    if missing:
        sys.exit(f"bench/failover: the lab does not run ({', '.join(missing)} missing): make lab, then playbooks/site.yml")
    report = Report(
        f"Failover as new associations see it, one each {options.interval * 1000:g} ms",
        ["fault", "gap, median (lowest–highest)", "failed of about 140", "how they failed"],
    )
    for fault in FAULTS:
        if not options.only or fault.name in options.only:
            measure(fault, options.rounds, options.interval, options.called, report)
    show([report], as_json=options.json)


if __name__ == "__main__":
    main()
