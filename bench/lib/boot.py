"""From power-on to the first caller that is served, beside a bare Debian 13 that has come up, in the same emulator."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

from lib.poll import wait_until
from vm.lib import ready, rig
from vm.lib.callers import call
from vm.lib.disk import make_disk
from vm.lib.machine import Disk, Machine

from bench.lib.report import Report, Sample, Target

# what any server has, and Python for the tests' agent
PACKAGES = ("dbus", "iproute2", "linux-image-amd64", "openssh-server", "python3-minimal", "systemd-sysv", "udev")
BARE = ready.CACHE / "bare"


def bare() -> Disk:
    """The disk of a Debian 13 with nothing of ours, made if it is not there (a minute)."""
    made = Disk(BARE / "vmlinuz", BARE / "initrd", BARE / "root.raw")
    if BARE.is_dir():
        return made
    sys.path.insert(0, str(ready.TOP / "roles/lab/files"))
    lab_debian = importlib.import_module("lab_debian")  # found through the line above
    tree, unfinished = BARE.with_name("bare-tree"), BARE.with_name("bare.part")
    for old in (tree, unfinished):
        shutil.rmtree(old, ignore_errors=True)
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--format=directory", f"--include={','.join(PACKAGES)}"]
    command += [f"--aptopt={line}" for line in (*lab_debian.fetch_options(), 'APT::Install-Recommends "false"')]
    subprocess.run([*command, lab_debian.SUITE, str(tree), *lab_debian.sources()], check=True)
    make_disk(tree, unfinished)
    unfinished.rename(BARE)
    shutil.rmtree(tree)
    return made


def timed(machine: Machine, up: Callable[[], bool]) -> float:
    """Seconds from power-on to `up`; the machine is off again afterwards."""
    began = time.monotonic()
    machine.power_on()
    wait_until(up, within=600, what=f"{machine.name} is up", every=0.1)
    took = time.monotonic() - began
    machine.wait_booted()
    machine.stop()
    return took


def boots(made: rig.Rig, rounds: int, report: Report) -> None:
    """Rows and the target; every machine of `made` is off before and after."""
    plain = Machine("bare", 9, made.folder / "bare", bare(), made.network, {"clinical": ["192.0.2.19/25"]})
    address, port = rig.SITE.services["backed"].addresses[0], rig.SITE.services["backed"].ports[0]
    made.serve()

    def served() -> bool:
        try:
            call(made.client, address, port, within=0.5).close()
        except OSError:
            return False
        return True

    def came_up() -> bool:
        plain.wait_booted()
        return True

    found = [(timed(plain, came_up), timed(made.lb1, served)) for _ in range(rounds)]
    bare_took, ours = zip(*found, strict=True)
    ratios = Sample.of([one / other for other, one in found])
    report.add("bare Debian 13 has come up", Sample.of(bare_took).show("s"), "")
    report.add("the image serves its first caller", Sample.of(ours).show("s"), f"{ratios.show('×')} of bare")
    report.figures["boot_ratio"] = ratios.median
    report.targets.append(Target.at_most("boot to serving against a bare Debian 13", ratios.median, 1.5, "×"))
