"""One QEMU machine: started, asked, frozen, killed, kept as a snapshot and restored."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path

from vm.lib.channel import Agent, Gone, Monitor
from vm.lib.network import Network, must

from lib.lab import Host, Result
from lib.poll import wait_until

AGENT = Path(__file__).with_name("guest_agent.py")
AGENT_UNIT = """[Unit]
Description=The tests' own way into this machine
DefaultDependencies=no
Before=shutdown.target
Conflicts=shutdown.target
[Service]
ExecStart=/usr/bin/python3 -S /run/credentials/@system/rota.agent
Restart=always
RestartSec=200ms
StandardError=journal+console
"""
UNWANTED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_reap.service", "rota-firstboot.service", "rota-wizard.service", "efi.mount", "getty@tty1.service",
    "serial-getty@ttyS0.service", "systemd-binfmt.service", "systemd-networkd-wait-online.service", "systemd-random-seed.service",
)  # fmt: skip
# Of devices that QEMU has and nobody uses; each costs an emulated machine a second to unpack.
DRIVERS = (
    "aesni_intel", "ata_generic", "ata_piix", "button", "cryptd", "evdev", "floppy", "ghash_clmulni_intel", "i2c_piix4", "joydev",
    "kvm", "kvm_amd", "kvm_intel", "parport", "parport_pc", "pata_acpi", "pcspkr", "ppdev", "psmouse", "qemu_fw_cfg", "serio_raw", "sg",
    "sr_mod",
)  # fmt: skip
# What waits for a real machine gives up on an emulated one: Python alone needs half a minute to load there.
SLOW = {"rota-control.service": "[Service]\nTimeoutStartSec=600\nWatchdogSec=0\n"}
# Nothing here belongs to the appliance: it makes an emulated boot quick, and names interfaces in the order of the plugs.
KERNEL_LINE = " ".join(
    [
        "root=/dev/vda rootfstype=ext4 rw console=ttyS0 quiet loglevel=4 mitigations=off net.ifnames=0 random.trust_cpu=on",
        "systemd.condition_needs_update=no systemd.default_device_timeout_sec=600",
        "systemd.wants=rota-agent.service systemd.wants=systemd-networkd.service systemd.wants=systemd-network-generator.service",
        *(f"systemd.mask={unit}" for unit in UNWANTED),
        f"modprobe.blacklist={','.join(DRIVERS)}",
    ]
)
MEMORY = 768


@dataclass(frozen=True)
class Disk:
    """What machines boot from; never written to."""

    kernel: Path
    initrd: Path
    root: Path  # raw ext4


class Machine(Host):
    """A node in QEMU: commands go through the agent in the guest, faults through QEMU and the bridges.

    `legs` says for each bridge which addresses the machine has there. Everything of it is in `folder`.
    The clock of a `counted` one goes by what it executes, 500 million instructions a second, and skips what it idles: how
    quick the host is makes no difference to what is measured in it.
    """

    def __init__(
        self, name: str, number: int, folder: Path, disk: Disk, network: Network, legs: Mapping[str, Sequence[str]],
        *, counted: bool = False,
    ):  # fmt: skip
        super().__init__(name)
        self.counted = counted
        self.number, self.folder, self.disk, self.network = number, folder, disk, network
        self.legs = legs
        self.ports = [f"{name}-{bridge}"[:15] for bridge in legs]
        self.console = folder / "console.log"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        for port, bridge in zip(self.ports, legs, strict=True):
            network.tap(port, bridge)
        must("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(disk.root.resolve()), str(self._overlay))

    @property
    def _overlay(self) -> Path:
        return self.folder / "disk.qcow2"

    def mac(self, leg: int) -> str:
        """The MAC address of one of its interfaces."""
        return f"52:54:00:00:{self.number:02x}:{leg:02x}"

    def address(self, family: int = 4, leg: int = 0) -> str:
        """Its own address on one of its legs."""
        found = [ip_interface(one).ip for one in [*self.legs.values()][leg]]
        return str(next(one for one in found if one.version == family))

    def _credentials(self) -> dict[str, str]:
        """What systemd in the guest is told: the tests' agent, and the addresses of each interface."""
        told = {"rota.agent": AGENT.read_text(), "systemd.extra-unit.rota-agent.service": AGENT_UNIT}
        told |= {f"systemd.unit-dropin.{unit}": text for unit, text in SLOW.items()}
        for leg, addresses in enumerate(self.legs.values()):
            lines = ["[Match]", f"MACAddress={self.mac(leg)}", "[Link]", "RequiredForOnline=no", "[Network]",
                     "IPv6AcceptRA=no", "LinkLocalAddressing=ipv6", "IPv6DuplicateAddressDetection=0"]  # fmt: skip
            lines += [f"Address={address}" for address in addresses]
            told[f"network.network.05-leg{leg}"] = "\n".join(lines) + "\n"
        return told

    def _arguments(self) -> list[str]:
        words = ["qemu-system-x86_64", "-name", self.name, "-nodefaults", "-no-user-config", "-display", "none"]
        words += ["-machine", "pc", "-cpu", "Nehalem", "-m", str(MEMORY)]
        words += ["-accel", f"tcg,thread={'single' if self.counted else 'multi'},tb-size=256"]
        words += ["-icount", "shift=1,sleep=off"] if self.counted else []
        words += ["-kernel", str(self.disk.kernel), "-initrd", str(self.disk.initrd), "-append", KERNEL_LINE]
        words += ["-drive", f"file={self._overlay},if=virtio,cache=unsafe,discard=unmap"]
        words += ["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
        words += ["-chardev", f"socket,id=agent,path={self.folder}/agent.sock,server=on,wait=off"]
        words += ["-device", "virtserialport,chardev=agent,name=rota.agent"]
        words += ["-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"]
        words += ["-qmp", f"unix:{self.folder}/qmp.sock,server=on,wait=off"]
        for leg, port in enumerate(self.ports):
            words += ["-netdev", f"tap,id=n{leg},ifname={port},script=no,downscript=no,vhost=off"]
            words += ["-device", f"virtio-net-pci,netdev=n{leg},mac={self.mac(leg)},romfile="]
        for name, text in self._credentials().items():
            path = self.folder / f"credential.{name}"
            path.write_text(f"io.systemd.credential.binary:{name}={base64.b64encode(text.encode()).decode()}")
            words += ["-smbios", f"type=11,path={path}"]
        return words

    def power_on(self, *, frozen: bool = False) -> None:
        """Start QEMU and return at once; `wait_booted` waits for the guest, which a `frozen` one has not begun to run."""
        words = [*self._arguments(), *(["-S"] if frozen else [])]
        with self.console.open("ab") as said:
            self._process = subprocess.Popen(
                self.network.inside(*words), stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        self.network.reaper.mind(self._process)
        self.monitor = Monitor(self.folder / "qmp.sock")
        self.agent = Agent(self.folder / "agent.sock")

    def start(self, *, within: float = 600) -> None:
        """Boot, and wait until systemd says that it is up."""
        self.power_on()
        self.wait_booted(within=within)

    def wait_booted(self, *, within: float = 600) -> None:
        """Wait until systemd has started everything."""

        def answers() -> bool:
            assert self.is_up(), f"QEMU has ended: {self.console.read_text(errors='replace')[-2000:]}"
            with contextlib.suppress(Gone):
                return self.agent.run("true", timeout=1).ok
            return False

        wait_until(answers, within=within, what=f"{self.name} answers", every=0.5)

        def up() -> bool:
            assert self.booted(), (
                f"failed: {self.failed_units()}, under way: {self.run('systemctl', 'list-jobs', '--plain').out}"
            )
            return True

        wait_until(up, within=within, what=f"{self.name} has booted", every=0.5)

    def run(self, *argv: str, timeout: float = 60, stdin: bytes | None = None) -> Result:
        """Run `argv` as root in the guest and return what came of it, whatever the exit code."""
        return self.agent.run(*argv, timeout=timeout, stdin=stdin)

    def read_bytes(self, path: str) -> bytes:
        """Return the bytes of a file."""
        return base64.b64decode(self.check("base64", path))

    def is_up(self) -> bool:
        """Tell whether QEMU runs."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Pull the plug: nothing in it gets to say good-bye, and its disk stays as it was."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=10)
        self.agent.close()
        self.monitor.close()

    def stop(self) -> None:
        """Shut it down in order."""
        with contextlib.suppress(Gone):  # it may be quicker than its answer
            self.run("systemctl", "poweroff", "--no-block")
        assert self._process is not None
        self._process.wait(timeout=120)

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        self.monitor.ask("stop")

    def unpause(self) -> None:
        """Let it run again."""
        self.monitor.ask("cont")

    def unplug(self) -> None:
        """Take all its cables out of the bridges."""
        for port in self.ports:
            self.network.link(port, "down")

    def cut(self) -> None:
        """Let the network lose every packet from and to it; its own links stay up, so it notices nothing."""
        self.unplug()

    def mend(self) -> None:
        """Undo `cut` and `unplug`."""
        for port in self.ports:
            self.network.link(port, "up")

    def keep(self, snapshot: str) -> None:
        """Keep the state of memory and disk under a name. It goes on frozen."""
        self.pause()
        self.monitor.human(f"savevm {snapshot}")

    def restore(self, snapshot: str) -> None:
        """Go back to a state that was kept; also after `kill`. It stays frozen until `wake`.

        In a new QEMU: an emulated time-stamp counter never goes back (cpu_get_ticks of QEMU), so in the old one the guest's
        clock would leap by all that has run since the state was kept. Every timer in it is late then, grace periods of the
        kernel do not end, and a keepalived that should let its addresses go hangs while it holds them.
        """
        if self.is_up():
            self.kill()
        self.power_on(frozen=True)
        self.mend()
        self.monitor.human(f"loadvm {snapshot}")

    def wake(self) -> None:
        """Let a restored machine run, with the time of day of now."""
        self.unpause()
        self.check("date", "-s", f"@{time.time():.3f}", timeout=20)
