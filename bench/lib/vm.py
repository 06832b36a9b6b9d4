"""The image on its own kernel, emulated: how soon it serves, what passing through IPVS costs, how soon another node serves.

Throughput and connection rate: caller, node and member in one guest, whose clock counts their instructions. A killed
node: the pair of the VM tier with the product's own adverts, and a caller that tries anew every 20 ms.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from lib.poll import wait_until
from lib.reaper import Reaper
from vm.lib import ready, rig
from vm.lib.callers import call
from vm.lib.machine import Disk, Machine

from bench.lib.boot import boots
from bench.lib.report import Report, Sample, Target, show

HERE = Path(__file__).parent
ADDRESS, PORT = "192.0.2.100", 7003
ADVERT = "0.2"  # seconds, the model's default
WAYS = {"direct": "direct", "dr": "IPVS, direct routing", "nat": "IPVS, NAT", "l7": "HAProxy, TCP"}
WANTED = {"dr": 0.90, "nat": 0.75}
WHAT = {
    "rate": ("connection rate, all on one processor", "/s"),
    "throughput": ("throughput, links of 1 Gbit/s", "MiB/s"),
    "counted": ("throughput per second of the one processor", "MiB/s"),
}


def forwarding(made: rig.Rig, disk: Disk, rounds: int, report: Report) -> None:
    """Rows and targets of throughput and connection rate; every machine of `made` is off."""
    place = made.folder / "forwarding"
    machine = Machine("forwarding", 8, place, disk, made.network, {"clinical": ["192.0.2.18/25"]}, counted=True)
    machine.start()
    machine.systemctl("stop", "rota-control.service", "keepalived.service", "haproxy.service")
    machine.write("/run/forwarding.py", (HERE / "forwarding.py").read_text())
    said = machine.check("python3", "/run/forwarding.py", str(rounds), "500", "300", timeout=1800)
    machine.kill()
    found: dict[str, dict[str, list[float]]] = {what: {how: [] for how in WAYS} for what in WHAT}
    for line in map(json.loads, said.splitlines()):
        for what in found.keys() & line.keys():
            found[what][line["how"]].append(line[what])
    for what, (title, unit) in WHAT.items():
        base = found[what]["direct"]
        for how, way in WAYS.items():
            ratios = Sample.of([value / one for value, one in zip(found[what][how], base, strict=True)])
            report.add(f"{way}: {title}", Sample.of(found[what][how]).show(unit), ratios.show("×"))
            report.figures[f"{what}_{how}"] = ratios.median
            if how in WANTED:
                report.targets.append(Target.at_least(f"{way} against direct: {title}", ratios.median, WANTED[how], "×"))


def served_after_death(made: rig.Rig) -> float:
    """Seconds from the death of the active node to the first new connection that is served."""
    made.begin()
    for node in made.nodes:
        node.check("sed", "-i", f"s/advert_int .*/advert_int {ADVERT}/", "/etc/keepalived/keepalived.conf")
        node.systemctl("reload", "keepalived.service")
    wait_until(made.is_steady, within=30, what="a steady pair with quick adverts", every=0.5)
    time.sleep(5)
    call(made.client, ADDRESS, PORT).close()
    made.lb1.kill()
    began = time.monotonic()
    while time.monotonic() - began < 30:
        try:
            call(made.client, ADDRESS, PORT, within=0.25).close()
        except OSError:
            time.sleep(0.02)
        else:
            return time.monotonic() - began
    raise SystemExit("bench/vm: nobody served within 30 s of the death of the active node")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--boots", type=int, default=3, help="boots of each kind, a minute or two each (0: none)")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    report = Report("IPVS in emulated machines", ["what", "median (range)", "against direct"])
    try:
        ready.look()
        disks = ready.disks()
    except ready.NotReady as why:
        sys.exit(f"bench/vm: {why}")
    reaper = Reaper()
    try:
        made = rig.build(ready.CACHE / "run", disks, reaper)
        if asked.boots:
            boots(made, asked.boots, report)
        forwarding(made, disks["lb1"], asked.rounds, report)
        made.boot()
        gaps = Sample.of([served_after_death(made) for _ in range(asked.rounds)])
        report.add("active node killed, new connections served after", gaps.show("s"), "")
        report.figures["served_after_death"] = gaps.median
        report.targets.append(Target.at_most("active node killed, served after", gaps.median, 1.0, "s"))
    except (AssertionError, subprocess.SubprocessError, TimeoutError) as problem:
        show([report], as_json=asked.json)  # what was measured before
        sys.exit(f"bench/vm: {problem}")
    finally:
        reaper.finish()
    show([report], as_json=asked.json)


if __name__ == "__main__":
    main()
