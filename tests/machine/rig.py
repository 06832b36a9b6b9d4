"""One emulated machine with the image's own disk: boot loaders, consoles and seeds as on a real one.

Its network is QEMU's user mode, closed (`restrict=on`): nothing leaves, and only loopback ports of this host lead in.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lib.poll import wait_until
from lib.reaper import Reaper
from peers.servers import find

OVMF = Path("/usr/share/OVMF")
MAC = "52:54:00:00:00:11"
ADDRESS, GATEWAY = "10.0.2.15", "10.0.2.2"  # what QEMU's user network gives (RFC 1918, in the emulator only)
BOOT = 420  # seconds; an idle machine of two cores needs about 60


def run(*words: str | Path, timeout: float = 60, stdin: Path = Path(os.devnull)) -> subprocess.CompletedProcess[str]:
    with stdin.open("rb") as told:
        return subprocess.run(
            [str(word) for word in words], stdin=told, capture_output=True, text=True, timeout=timeout, check=False
        )


def must(*words: str | Path) -> str:
    done = run(*words, timeout=120)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def key(folder: Path) -> Path:
    """A key pair of the one who rolls out."""
    path = folder / "id"
    if not path.exists():
        must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "rollout", "-f", path)
    return path


def seed(folder: Path, files: dict[str, str]) -> Path:
    """A NoCloud seed on a small FAT disk."""
    image = folder / "seed.img"
    image.unlink(missing_ok=True)
    must("mkfs.vfat", "-n", "CIDATA", "-C", image, "512")
    for name, text in files.items():
        (folder / name).write_text(text)
        must("mcopy", "-i", image, folder / name, "::")
    return image


class Machine:
    """A machine that boots `raw` through an overlay of its own; the overlay outlives a power cycle."""

    def __init__(self, folder: Path, raw: Path, key: Path, reaper: Reaper, *, gigabytes: int = 6) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.key, self.port, self.reaper = folder, key, free_port(), reaper
        self.disk = folder / "disk.qcow2"
        must("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", raw.resolve(), self.disk, f"{gigabytes}G")
        self.process: subprocess.Popen[bytes] | None = None
        self.boots = 0

    def power_on(self, firmware: str, more: Sequence[str] = (), *, archives: Sequence[str] = ()) -> None:
        """Start it with `firmware`, bios or uefi; at port 104 of each of `archives` a DICOM archive answers it."""
        assert self.process is None
        self.boots += 1
        self.console = self.folder / f"console-{self.boots}-{firmware}.log"
        words = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35"]
        words += ["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "Nehalem", "-smp", "2", "-m", "1024"]
        if firmware == "uefi":
            variables = self.folder / "vars.fd"
            if not variables.exists():
                shutil.copy(OVMF / "OVMF_VARS_4M.fd", variables)
            words += ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}/OVMF_CODE_4M.fd"]
            words += ["-drive", f"if=pflash,format=raw,file={variables}"]
        words += ["-drive", f"file={self.disk},if=virtio,cache=unsafe", "-device", "virtio-rng-pci"]
        stored = self.folder / "stored"
        stored.mkdir(exist_ok=True)
        archive = f"{find('storescp')} --inetd -ll off -od {stored}"  # one process for each association, ended by it
        forwards = "".join(f",guestfwd=tcp:{address}:104-cmd:{archive}" for address in archives)
        words += ["-netdev", f"user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22{forwards}"]
        words += ["-device", f"virtio-net-pci,netdev=n,mac={MAC},romfile="]
        words += [
            "-chardev",
            f"socket,id=c,path={self.folder}/tty,server=on,wait=off,logfile={self.console}",
            "-serial",
            "chardev:c",
        ]
        words += ["-monitor", f"unix:{self.folder}/monitor,server=on,wait=off", *more]
        with (self.folder / "qemu.log").open("ab") as said:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.reaper.mind(self.process)

    def ssh(self, command: str, *, timeout: float = 120, stdin: Path = Path(os.devnull)) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root in it."""
        options = ["-i", self.key, "-p", str(self.port), "-o", "BatchMode=yes", "-o", "ConnectTimeout=60",
                   "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]  # fmt: skip
        try:
            return run("ssh", *options, "root@127.0.0.1", command, timeout=timeout, stdin=stdin)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess([], 255, "", "no answer in time")

    def check(self, command: str, *, timeout: float = 120, stdin: Path = Path(os.devnull)) -> str:
        done = self.ssh(command, timeout=timeout, stdin=stdin)
        assert done.returncode == 0, f"{command}: exit {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def wait_booted(self, within: float = BOOT) -> None:
        """Wait until SSH lets us in and systemd has started everything; degraded counts as started, and is judged later."""

        def up() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise RuntimeError(f"QEMU has ended: {(self.folder / 'qemu.log').read_text()}")
            return self.ssh("systemctl is-system-running", timeout=40).stdout.strip() in ("running", "degraded")

        wait_until(up, within=within, what=f"{self.console.name} boots", every=1)

    def screen(self) -> str:
        """What its serial line has shown since it was switched on, without control sequences."""
        text = self.console.read_text(errors="replace") if self.console.exists() else ""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", text)

    def waits_for(self, text: str, within: float = BOOT) -> None:
        wait_until(lambda: text in self.screen(), within=within, what=f"{text!r} on the serial line", every=0.5)

    def types(self, text: str) -> None:
        """Type a line on its serial line, and stay until it was taken: QEMU forgets what is unread when one hangs up."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(60)
            sock.connect(str(self.folder / "tty"))
            sock.sendall(text.encode() + b"\r")
            while b"\n" not in sock.recv(4096):
                pass

    def power_off(self) -> None:
        """Shut it down in order, so that its disk is whole; then be sure that it is gone."""
        if self.process is None:
            return
        self.ssh("systemctl poweroff --no-block", timeout=30)
        try:
            self.process.wait(timeout=120)
        finally:
            self.kill()

    def kill(self) -> None:
        """Pull the plug."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, 9)
            self.process.wait(timeout=20)
            self.process = None
