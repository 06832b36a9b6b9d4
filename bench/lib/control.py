"""What rotad costs with a thousand members, and how soon it acts.

Two rotad processes with certificates of their own, each beside the HAProxy of Debian 13 with 40 layer 4 services of 25
members; one second between two checks of a member. Everything runs on loopback and goes away with the program.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from contract.rotad_node import Bench, Haproxy, Member, Rotad, service, site
from lib.poll import wait_until
from rota.control.clock import Clock
from rota.control.journal import Journal

from bench.lib.report import Report, Sample, Target, show
from bench.lib.root import TOP

SERVICES, EACH, EVENTS = 40, 25, 100_000
TICKS = os.sysconf("SC_CLK_TCK")
Node = tuple[Rotad, Haproxy]
MEMORY = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072"}  # as its unit has it


def fill(folder: Path, node: str) -> None:
    """A journal of 100,000 events over a month, as of a site whose members flap."""
    folder.mkdir(parents=True)

    moments = itertools.count()
    begin, step = datetime.now(UTC) - timedelta(days=29, hours=1), timedelta(days=29) / EVENTS
    past = Clock(now=lambda: begin + step * next(moments))
    journal = Journal(folder / "journal.db", node, past, days=400, mebibytes=512)
    for number in range(EVENTS):
        after = ("down", "up")[number % 2]
        names = {"service": f"s{number % SERVICES}", "member": f"m{number % EACH}"}
        journal.record(kind="verdict", before="up", after=after, reason="refused: nothing listens there", **names)
        if number % 5000 == 0:
            journal.flush()
    journal.flush()
    journal.close()


def pair(stack: ExitStack, root: Path, tmp: Path) -> list[Node]:
    """Two nodes, filled journals, all members up."""
    bench = Bench(root, tmp, stack)
    halves = [bench.member("even"), bench.member("odd")]
    services: dict[str, list[Member]] = {}
    document = {}
    check = {"interval": "1s", "timeout": "500ms", "kind": "tcp"}
    for number in range(SERVICES):
        services[f"s{number}"] = [twin(f"m{n}", halves[n % 2]) for n in range(EACH)]
        document[f"s{number}"] = service(number, [f"m{n}" for n in range(EACH)], mode="l4-dr", check=check)
    found = []
    for node in ("lb1", "lb2"):
        haproxy = bench.haproxy(node, dict(services), sticky=False, interval="1s")
        rotad = bench.rotad(node, haproxy, site(document))
        fill(rotad.folder / "state", node)
        rotad.start(**MEMORY)
        found.append((rotad, haproxy))
    for rotad, _ in found:
        wait_until(lambda r=rotad: r.get("/v1/status")["peers"][0]["in_step"], within=60, what="nodes in step")  # type: ignore[misc]
        wait_until(lambda r=rotad: r.member("s0", "m0")["verdict"] == "up", within=30, what="members up")  # type: ignore[misc]
    return found


def twin(name: str, server: Member) -> Member:
    """The same server under another name."""
    made = object.__new__(Member)
    made.name, made.port, made.check_port = name, server.port, server.check_port
    return made


def proc(rotad: Rotad, file: str) -> str:
    """A file of /proc about the process."""
    assert rotad.process is not None  # noqa: S101 (it was started)
    return Path(f"/proc/{rotad.process.pid}/{file}").read_text()


def spent(rotad: Rotad) -> float:
    """Seconds of processor time so far."""
    fields = proc(rotad, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(rotad: Rotad) -> float:
    """MB of memory that it holds."""
    return int(next(line for line in proc(rotad, "status").splitlines() if line.startswith("VmRSS")).split()[1]) * 1.024e-3


def timed(what: str, act: Callable[[], object], done: Callable[[], bool]) -> float:
    """Seconds from the begin of `act` until `done`."""
    began = time.perf_counter()
    act()
    while not done():
        if time.perf_counter() - began > 10:
            sys.exit(f"bench/control: {what}: not within 10 s")
        time.sleep(0.002)
    return time.perf_counter() - began


def idle(rotad: Rotad, seconds: float) -> list[float]:
    """Percent of a core while nobody asks, five times; it looks more often for half a minute after somebody has."""
    time.sleep(31)
    shares = []
    for _ in range(5):
        before, began = spent(rotad), time.monotonic()
        time.sleep(seconds)
        shares.append(100 * (spent(rotad) - before) / (time.monotonic() - began))
    return shares


def command(rotad: Rotad) -> float:
    """Seconds that `rota status` takes as a person types it, from the start of Python on."""
    words = [sys.executable, "-m", "rota.cli", "status"]
    environment = {**os.environ, "ROTA_SOCKET": str(rotad.folder / "run/rotad.sock"), "PYTHONPATH": str(TOP / "appliance")}
    began = time.perf_counter()
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=30)
    took = time.perf_counter() - began
    if "s39" not in done.stdout:
        sys.exit(f"bench/control: rota status: {done.stdout[-500:]}{done.stderr[-500:]}")
    return took


def main() -> None:
    """Measure, and print the report."""
    parser = argparse.ArgumentParser(prog="bench/control", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10, help="for the processor time, five times")
    parser.add_argument("--json", action="store_true", help="print figures for a program")
    options = parser.parse_args()
    report = Report(f"rotad with {SERVICES * EACH:,} members and {EVENTS:,} events", ["what", "median (lowest–highest)"])
    root = TOP / ".lab/daemons"
    subprocess.run([TOP / "tools/daemon-root", root], check=True)
    with ExitStack() as stack:
        tmp = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rota-bench-")))
        nodes = pair(stack, root, tmp)
        measure(report, nodes, options.rounds, options.seconds)
    show([report], as_json=options.json)


def verdict_to_file(node: Node, health: str) -> float:
    """Seconds from HAProxy's verdict to the track file that keepalived reads."""
    rotad, haproxy = node
    track, wanted = rotad.folder / "run/track/s7.m3", {"down": "-2147483648", "up": "0"}[health]
    # else a check that happens to come in between takes it back
    haproxy.ask("disable health s7/m3")
    command = f"set server s7/m3 health {health}"
    return timed(f"track file after {command}", lambda: haproxy.ask(command), lambda: track.read_text().strip() == wanted)


def intent_to_both(nodes: list[Node], state: str) -> float:
    """Seconds from an operator's word on one node to HAProxy's flag on both."""
    flag = {"drain": 8, "ready": 0}[state]
    return timed(
        state, lambda: nodes[0][0].intend(state, "m0", "s0"), lambda: all(h.admin("s0", "m0") == flag for _, h in nodes)
    )


def answer(rotad: Rotad, path: str) -> float:
    """Seconds for an answer of the API."""
    return timed(path, lambda: rotad.get(path), lambda: True)


def measure(report: Report, nodes: list[Node], rounds: int, seconds: float) -> None:
    """Fill the report."""
    one = nodes[0][0]
    share, memory = idle(one, seconds), [resident(rotad) for rotad, _ in nodes]
    to_file = [verdict_to_file(nodes[0], health) for _ in range(rounds // 2) for health in ("down", "up")]
    to_both = [intent_to_both(nodes, state) for _ in range(rounds // 2) for state in ("drain", "ready")]
    typed = [command(one) for _ in range(max(3, rounds // 4))]
    asked = [answer(one, "/v1/status") for _ in range(rounds)]
    since = (datetime.now(UTC) - timedelta(days=15)).isoformat().replace("+00:00", "Z")
    narrow = [answer(one, f"/v1/events?service=s7&since={since}&limit=100") for _ in range(rounds)]
    wide = [answer(one, "/v1/events?limit=1000") for _ in range(rounds)]
    widest = [answer(one, "/v1/events?limit=5000") for _ in range(rounds)]
    worked = [resident(rotad) for rotad, _ in nodes]
    rows: dict[str, tuple[list[float], str, float]] = {
        "processor time, nobody asks": (share, "% of a core", 3.0),
        "memory, both nodes": (memory, "MB", 80.0),
        "memory after all that is asked below": (worked, "MB", 80.0),
        "verdict to track file": (to_file, "s", 0.3),
        "intent to HAProxy on both nodes": (to_both, "s", 0.5),
        "status, asked over the socket": (asked, "s", 0.5),
        "`rota status`, with the start of the program": (typed, "s", 0.5),
        "100 events of one service since half a month ago": (narrow, "s", 0.2),
        "the last 1,000 events": (wide, "s", 0.2),
        "the last 5,000 events, as many as one answer holds": (widest, "s", 0.2),
    }
    for name, (values, unit, limit) in rows.items():
        sample = Sample.of(values)
        report.add(name, sample.show(unit))
        report.figures[name] = sample
        report.targets.append(Target.at_most(name, sample.median, limit, unit))


if __name__ == "__main__":
    main()
