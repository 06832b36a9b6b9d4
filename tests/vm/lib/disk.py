"""From a root tree to what QEMU boots directly: its kernel, a small initrd, and an ext4 file.

The appliance's own initrd unpacks 17 MB and looks for disks of every kind, which takes an emulated machine half of its
boot; this one knows the one disk that there is. The image tests boot the real one.
"""

from __future__ import annotations

import lzma
import shutil
import subprocess
from pathlib import Path

from image import disk
from vm.lib.machine import Disk

INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs none /dev
for module in /modules/*; do /bin/busybox insmod "$module"; done
i=0
until [ -b /dev/vda ] || [ $i -gt 100 ]; do /bin/busybox usleep 50000; i=$((i + 1)); done
/bin/busybox mount -t ext4 -o rw /dev/vda /root || echo "initrd: no root file system on /dev/vda"
/bin/busybox umount /dev
exec /bin/busybox switch_root /root /sbin/init
"""
MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")


def needed(modules: Path) -> list[Path]:
    """Files of MODULES and of what they depend on, in the order in which they load; those built into the kernel have none."""
    files = {}
    depends = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        file, _, others = line.partition(":")
        name = Path(file).name.partition(".ko")[0]
        files[name], depends[name] = modules / file, [Path(other).name.partition(".ko")[0] for other in others.split()]
    order: list[str] = []
    for wanted in MODULES:
        # modules.dep lists what is needed first last
        order += [name for name in (*reversed(depends.get(wanted, [])), wanted) if name in files and name not in order]
    return [files[name] for name in order]


def _initrd(root: Path, release: str, target: Path) -> None:
    work = target.with_suffix(".tree")
    shutil.rmtree(work, ignore_errors=True)
    for folder in ("bin", "dev", "root", "modules"):
        (work / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", work / "bin/busybox")
    (work / "init").write_text(INIT)
    (work / "init").chmod(0o755)
    for number, packed in enumerate(needed(root / "lib/modules" / release)):
        name = packed.name.partition(".ko")[0]
        raw = packed.read_bytes()
        (work / f"modules/{number:02}-{name}.ko").write_bytes(lzma.decompress(raw) if packed.suffix == ".xz" else raw)
    names = "\n".join(str(path.relative_to(work)) for path in sorted(work.rglob("*")))
    packed_tree = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=work, input=names.encode(), capture_output=True,
                                 check=True).stdout  # fmt: skip
    target.write_bytes(packed_tree)
    shutil.rmtree(work)


def make_disk(root: Path, folder: Path) -> Disk:
    """Make what boots the tree `root`; everything goes to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    kernel = sorted((root / "boot").glob("vmlinuz-*"))[-1]
    made = Disk(folder / "vmlinuz", folder / "initrd", folder / "root.raw")
    shutil.copy(kernel, made.kernel)
    _initrd(root, kernel.name.removeprefix("vmlinuz-"), made.initrd)
    disk.ext4(root, made.root)
    return made
