"""What it costs to ask 200 DICOM servers for their health every 2 s, and how soon a dead one is out.

HAProxy with the configuration that Rota renders, against a forked echoscu per check; the servers are storescp processes
on the other core. Cost is processor time as the kernel counts it.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench.lib import rendered
from bench.lib.network import (
    CLIENT,
    HOSTS,
    NODE,
    SERVER,
    SERVICE,
    add_address,
    inside,
    network,
    quickack,
    remove_address,
    route_to_server,
)
from bench.lib.probing import Prober, longest_gap
from bench.lib.processes import argv, ask, cpu_seconds, environment, listening, running, until
from bench.lib.report import Report, Sample, Target, figure, show
from bench.lib.root import ensure_root
from bench.lib.sites import Document, pair, parsed

NODE_CORE, SERVER_CORE = 0, 1
PORTS = range(11112, 11116)
SERVICES = 50


def many() -> Document:
    """50 services of 4 members: 200 checks, one each 2 s."""
    return {
        f"pacs-{number:02}": {
            "profile": "dicom",
            "address": f"198.18.5.{number + 1}",
            "check": {"interval": "2s", "timeout": "1500ms"},
            "members": {
                f"m{number:02}-{port}": {"address": _address(number), "port": port, "called_ae": f"PACS_{port}"}
                for port in PORTS
            },
        }
        for number in range(SERVICES)
    }


def one() -> Document:
    """One service with all of Rota's own defaults."""
    members = {f"m{port}": {"address": _own(port), "port": port, "called_ae": "STORE"} for port in PORTS}
    return {"pacs": {"profile": "dicom", "address": SERVICE, "members": members}}


def _address(number: int) -> str:
    return f"198.19.0.{number + 1}"


def _own(port: int) -> str:
    return f"198.19.1.{port - PORTS[0] + 1}"


class Bed:
    """Namespaces, servers and HAProxy for one site, up and judged healthy."""

    def __init__(self, stack: contextlib.ExitStack, root: Path, services: Document) -> None:
        self.root = root
        self.servers: dict[int, subprocess.Popen[bytes]] = {}
        self._stack = stack
        self.site = parsed(pair(services))
        stack.enter_context(network())
        quickack(NODE)
        addresses = sorted(
            {member.address for service in self.site.services.values() for member in service.members.values()}
        )
        # storescp looks for the caller's name, and would wait for DNS
        names = "".join(f"{address} host-{number}\n" for number, address in enumerate(addresses))
        (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{HOSTS}{names}")
        for address in addresses:
            add_address(SERVER, "lo", address)
        route_to_server("198.19.0.0/16")
        for port in PORTS:
            self.start_server(port)
        command = rendered.install(root, self.site)
        self.log = root / "tmp/haproxy.log"
        self.haproxy = stack.enter_context(running(command, end=NODE, root=root, core=NODE_CORE, log=self.log))
        until(lambda: self.socket.exists() or self.haproxy.poll() is not None, within=10, what="HAProxy's socket")
        if self.haproxy.poll() is not None:
            raise RuntimeError(f"HAProxy did not start: {self.log.read_text()[-2000:]}")
        until(self.all_up, within=60, every=0.5, what="all members up")

    @property
    def socket(self) -> Path:
        """HAProxy's runtime socket."""
        return self.root / rendered.SOCKET

    def start_server(self, port: int) -> None:
        """Start the storescp on `port`."""
        command = ["storescp", "--ignore", "--aetitle", "STORE", str(port)]
        process = self._stack.enter_context(
            running(command, end=SERVER, root=self.root, core=SERVER_CORE, env={"TCP_NODELAY": "1"})
        )
        self.servers[port] = process
        until(lambda: listening(port, process.pid), within=10, what=f"storescp on port {port}")

    def states(self) -> dict[str, str]:
        """Member → operational state: 0 is down, 2 is up (management guide, "show servers state")."""
        lines = ask(self.socket, "show servers state").splitlines()
        return {words[3]: words[5] for words in map(str.split, lines) if len(words) > 6 and words[0].isdigit()}

    def all_up(self) -> bool:
        """Whether every member is up, by its own check and not only by HAProxy's first assumption."""
        rows = [line.split(",") for line in ask(self.socket, "show stat -1 4 -1").splitlines() if not line.startswith("#")]
        return all(row[17].startswith("UP") and row[36].startswith("L7OK") for row in rows if len(row) > 36)

    def accepted(self) -> int:
        """Connections that the servers have accepted so far."""
        lines = subprocess.run(inside(SERVER, ["cat", "/proc/net/snmp"]), capture_output=True, text=True, check=True).stdout
        keys, values = (line.split() for line in lines.splitlines() if line.startswith("Tcp:"))
        return int(dict(zip(keys, values, strict=True))["PassiveOpens"])


def native(bed: Bed, seconds: float) -> tuple[float, float]:
    """Cost of HAProxy's own checks: (part of a core, processor seconds per check)."""
    cpu, checks, begin = cpu_seconds(bed.haproxy.pid), bed.accepted(), time.monotonic()
    time.sleep(seconds)
    used, done, took = cpu_seconds(bed.haproxy.pid) - cpu, bed.accepted() - checks, time.monotonic() - begin
    if done < 0.9 * seconds * len(PORTS) * SERVICES / 2:
        raise RuntimeError(f"only {done} checks in {took:.0f} s: the servers cannot keep up")
    return used / took, used / done


def forked(bed: Bed, count: int) -> float:
    """Processor seconds of one echoscu, started for one check as a check script is."""
    address, port = _address(0), PORTS[0]
    loop = f"for _ in $(seq {count}); do echoscu -aet ROTA -aec STORE {address} {port} || exit 1; done"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = argv(["sh", "-c", loop], end=NODE, root=bed.root, core=NODE_CORE)
    subprocess.run(command, env=environment(), check=True, timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / count


def cost(root: Path, rounds: int, seconds: float, report: Report) -> None:
    """HAProxy and echoscu in turn."""
    shares, each, forks = [], [], []
    with contextlib.ExitStack() as stack:
        bed = Bed(stack, root, many())
        time.sleep(3)  # the first checks are spread over the interval
        for _ in range(rounds):
            part, per_check = native(bed, seconds)
            shares.append(part * 100)
            each.append(per_check * 1e3)
            forks.append(forked(bed, 50) * 1e3)
    ratio = Sample.of([fork / own for fork, own in zip(forks, each, strict=True)])
    share, own, fork = Sample.of(shares), Sample.of(each), Sample.of(forks)
    report.add("HAProxy, 200 members every 2 s", share.show("% of a core"), own.show("ms"), "1×")
    report.add(
        "echoscu, forked for each check", f"{figure(fork.median * 100 / 10)} % of a core", fork.show("ms"), ratio.show("×")
    )
    report.figures |= {"core_percent": share, "native_ms": own, "forked_ms": fork, "forked_over_native": ratio}
    report.targets += [
        Target.at_most("200 members every 2 s", share.median, 2, "% of a core"),
        Target.at_least("cheaper than a forked echoscu", ratio.median, 100, "×"),
    ]


@dataclass
class Death:
    """What the end of one member came to; seconds."""

    out: float
    gap: float
    failed: int
    asked: int


def death(bed: Bed, port: int, *, vanish: bool) -> Death:
    """End the member on `port` under traffic, have it back, and say what happened."""
    prober = Prober(inside(CLIENT, []), SERVICE, 104, called="STORE", interval=0.02, seconds=12 if vanish else 4)
    moment = time.monotonic()
    if vanish:
        remove_address(SERVER, "lo", _own(port))
    else:
        bed.servers[port].kill()
    until(lambda: bed.states()[f"m{port}"] == "0", within=60, every=0.002, what="a dead member out")
    out = time.monotonic() - moment
    attempts = prober.finish(moment)
    if vanish:
        add_address(SERVER, "lo", _own(port))
    else:
        bed.start_server(port)
    until(bed.all_up, within=60, every=0.2, what="the member back")
    failed = [attempt for attempt in attempts if attempt.outcome != "ok"]
    return Death(out, longest_gap(attempts, 0.02), len(failed), len(attempts))


def deaths(root: Path, rounds: int, report: Report) -> None:
    """Kill members, and let their hosts vanish, in turn."""
    with contextlib.ExitStack() as stack:
        bed = Bed(stack, root, one())
        for vanish in (False, True):
            found = [death(bed, PORTS[turn % len(PORTS)], vanish=vanish) for turn in range(rounds)]
            name = "its host vanishes (no answer at all)" if vanish else "its process is killed (refused)"
            out, gap = Sample.of([one.out for one in found]), Sample.of([one.gap for one in found])
            failed = sum(one.failed for one in found)
            report.add(name, out.show("s"), gap.show("s"), f"{failed} of {sum(one.asked for one in found)}")
            report.figures[name] = {"out_s": out, "gap_s": gap, "failed": failed}
            if not vanish:
                report.targets.append(Target.at_most("a member killed under traffic is out", out.median, 0.5, "s"))


def main() -> None:
    """Measure, and print the reports."""
    parser = argparse.ArgumentParser(prog="bench/checks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20, help="length of one round of checks")
    parser.add_argument("--only", choices=["cost", "death"])
    parser.add_argument("--json", action="store_true", help="print figures for a program")
    options = parser.parse_args()
    root = ensure_root()
    costs = Report("What checks cost", ["way", "200 members every 2 s", "CPU per check", "times HAProxy's"])
    ends = Report(
        "A member dies under traffic, 50 new associations a second",
        ["how", "out after", "longest gap", "failed associations"],
    )
    if options.only != "death":
        cost(root, options.rounds, options.seconds, costs)
    if options.only != "cost":
        deaths(root, options.rounds, ends)
    show([report for report in (costs, ends) if report.rows], as_json=options.json)


if __name__ == "__main__":
    main()
