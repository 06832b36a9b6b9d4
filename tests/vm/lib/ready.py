"""What the tier needs of this computer, and the disks that it boots: made when something that they hold has changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from image import root
from vm.lib.disk import make_disk
from vm.lib.machine import MEMORY, Disk
from vm.lib.rig import SITE

TOP = Path(__file__).parents[3]
CACHE = TOP / ".lab/vm"
TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs",
    "ip": "iproute2", "bridge": "iproute2", "tcpdump": "tcpdump", "cpio": "cpio", "storescu": "dcmtk", "ssh-keygen": "openssh-client",
}  # fmt: skip
SPACE = 6000  # MiB: two trees, two disks, and what the machines write
WITH = 2 * MEMORY + 512  # MiB
# What goes into a tree: a change of any of it makes a new one.
INGREDIENTS = (
    "appliance",
    "roles",
    "plugins",
    "playbooks",
    "requirements",
    "ansible.cfg",
    "pyproject.toml",
    "tools/wheelhouse",
    "tests/vm/site",
)


class NotReady(Exception):
    """Why the tier cannot run here: one line that names the remedy."""


def look() -> None:
    """Raise NotReady with what is missing here."""
    if os.geteuid() != 0:
        raise NotReady("the VM tier makes namespaces and bridges: run it as root")
    missing = {tool: package for tool, package in TOOLS.items() if not shutil.which(tool)}
    if missing:
        raise NotReady(
            f"missing here: {', '.join(missing)}; install with: tools/host-packages {' '.join(sorted(set(missing.values())))}"
        )
    if not Path("/bin/busybox").exists():
        raise NotReady("missing here: /bin/busybox; install with: tools/host-packages busybox-static")
    _tun(Path("/dev/net/tun"))
    free = shutil.disk_usage(TOP).free >> 20
    if free < SPACE:
        raise NotReady(f"{TOP} has {free} MiB free, the VM tier takes {SPACE}: make room, or put the working copy elsewhere")
    available = _available()
    if available < WITH:
        raise NotReady(f"{available} MiB of memory are available, two machines take {WITH}: end something else first")


def _tun(device: Path) -> None:
    try:
        os.close(os.open(device, os.O_RDWR))
    except OSError as problem:
        raise NotReady(
            f"{device}: {problem.strerror}: machines cannot be plugged in; run `modprobe tun`, or give the container --device={device}"
        ) from problem


def _available() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) >> 10


def digest() -> str:
    """Short hash of everything that a tree is made of."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z", *INGREDIENTS], cwd=TOP, capture_output=True,
                            check=True).stdout.decode()  # fmt: skip
    sums = hashlib.sha256()
    for name in sorted(filter(None, listed.split("\0"))):
        if (TOP / name).is_file():
            sums.update(name.encode() + b"\0" + (TOP / name).read_bytes())
    sums.update(Path(__file__).with_name("disk.py").read_bytes())
    return sums.hexdigest()[:12]


def disks() -> dict[str, Disk]:
    """The disks of all nodes of the tier's site, made if need be."""
    nodes = [*SITE.site.nodes]
    if not all(_place(node).is_dir() for node in nodes):
        CACHE.mkdir(parents=True, exist_ok=True)
        _authority(nodes)
        root.bootstrap(TOP / ".lab/image")
    with ThreadPoolExecutor(len(nodes)) as pool:
        return dict(zip(nodes, pool.map(_disk, nodes), strict=True))


def _authority(nodes: list[str]) -> None:
    """Make the site's authority before the trees, which are made at the same time: two would not know each other."""
    words = json.dumps({"folder": str(CACHE / "authority"), "site": SITE.site.name, "names": nodes})
    done = subprocess.run([f"{TOP}/.venv/bin/ansible", "localhost", "-m", "rota_ca", "-a", words], cwd=TOP, capture_output=True,
                          text=True, check=False)  # fmt: skip
    if done.returncode:
        raise NotReady(f"the authority of the site could not be made: {done.stdout or done.stderr}")


def _place(node: str) -> Path:
    return CACHE / f"{node}-{digest()}"


def _disk(node: str) -> Disk:
    """The disk of one node of the tier's site: the image's root with the roles applied, as `make image SITE=` makes it."""
    folder = _place(node)
    made = Disk(folder / "vmlinuz", folder / "initrd", folder / "root.raw")
    if folder.is_dir():
        return made
    for old in CACHE.glob(f"{node}-*"):
        shutil.rmtree(old)
    tree = CACHE / f"tree-{node}"
    build = [str(TOP / "appliance/image/build"), "root", str(tree), "--site", str(TOP / "tests/vm/site"), "--node", node]
    done = subprocess.run(build, stdout=sys.stderr, check=False)
    if done.returncode:
        raise NotReady(f"the root tree of {node} could not be made (its own words are above)")
    unfinished = folder.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    make_disk(tree, unfinished)
    unfinished.rename(folder)
    shutil.rmtree(tree)
    return made


def main() -> None:
    """Make the disks, or say in one line why not; with the word `look` only say whether it could be done."""
    try:
        look()
        if sys.argv[1:] != ["look"]:
            disks()
    except NotReady as why:
        raise SystemExit(f"vm: {why}") from None


if __name__ == "__main__":
    main()
