"""Disks of a root tree: a bare file system, and a GPT disk that boots by itself."""

from __future__ import annotations

import struct
import tempfile
import uuid
from pathlib import Path
from typing import BinaryIO

from image import root
from image.step import ImageError, beside, need_root, need_space, need_tools, remove, run, say

MARGIN = 700  # MiB that a root file system has beyond its content


def ext4(tree: Path, target: Path, *, mebibytes: int | None = None) -> None:
    """Write the tree into the bare file system `target` (label `rota-root`): no loop device, no mount."""
    need_root()
    need_tools({"mke2fs": "e2fsprogs"})
    if not (tree / "etc/debian_version").is_file():
        raise ImageError(f"{tree} is no root tree; make one with: appliance/image/build root {tree}")
    room = mebibytes or root.size(tree) + MARGIN
    need_space(target, root.size(tree) + 200)
    unfinished = beside(target)
    try:
        run("mke2fs", "-q", "-t", "ext4", "-L", "rota-root", "-E", "root_owner=0:0", "-d", tree, unfinished, f"{room}M")
        unfinished.rename(target)
    finally:
        remove(unfinished)
    say(f"{target}: ext4, {room} MiB")


ESP_MEBIBYTES = 260  # three kernels with their initrds; less than 260 MiB is no FAT32 on a disk of 4096-byte sectors
LABELS = {"esp": "ROTA-ESP", "bios": "rota-bios", "root": "rota-root"}
TOOLS = {"mke2fs": "e2fsprogs", "mkfs.vfat": "dosfstools", "mcopy": "mtools", "unshare": "util-linux"}
BIOS_BOOT = uuid.UUID("21686148-6449-6e6f-744e-656564454649")
# GRUB's i386-pc images: where boot.img keeps the sector of core.img and the drive, where core.img keeps the rest's
KERNEL_SECTOR, DRIVE_CHECK, BLOCK_LIST = 0x5C, 0x66, 0x1F4
GRUB_MODULES = ("biosdisk", "part_gpt", "fat", "search", "search_label", "configfile", "normal", "linux", "serial",
                "terminal", "echo", "test", "ls", "boot", "reboot", "halt")  # fmt: skip
GRUB_EARLY = f"search --no-floppy --set=root --label {LABELS['esp']}\nset prefix=($root)/grub\n"
DEFINITIONS = {
    "10-esp.conf": "Type=esp\nLabel=rota-esp\nCopyBlocks=/mnt/esp",
    "20-bios.conf": f"Type={BIOS_BOOT}\nLabel=rota-bios\nCopyBlocks=/mnt/bios",
    "30-root.conf": "Type=root\nLabel=rota-root\nCopyBlocks=/mnt/root\nGrowFileSystem=yes",
}


def boot_partition(tree: Path, work: Path) -> None:
    """Write `work`/esp: what systemd-boot (UEFI) and GRUB (BIOS) read, by the program that keeps it so on the machine."""
    folder = work / "efi"
    run(tree / "usr/local/lib/rota/boot-sync", tree, folder)
    run("mkfs.vfat", "-F", "32", "-n", LABELS["esp"], "-C", work / "esp", str(ESP_MEBIBYTES << 10))
    run("mcopy", "-s", "-i", work / "esp", *sorted(folder.iterdir()), "::", env={"MTOOLS_SKIP_CHECK": "1"})


def grub_core(tree: Path, work: Path) -> None:
    """Write `work`/bios: GRUB's core image, as large as its partition."""
    (work / "early.cfg").write_text(GRUB_EARLY)
    root.chroot(tree, "grub-mkimage", "-O", "i386-pc", "-d", "/usr/lib/grub/i386-pc", "-p", "/grub", "-c", "/mnt/early.cfg",
                "-o", "/mnt/bios", *GRUB_MODULES, work=work)  # fmt: skip
    with (work / "bios").open("r+b") as handle:
        handle.truncate(1 << 20)


def bios_partition(disk: BinaryIO) -> int:
    """First sector of the BIOS boot partition in a GPT of 512-byte sectors (UEFI 2.10, 5.3)."""
    disk.seek(512)
    header = disk.read(92)
    if header[:8] != b"EFI PART":
        raise ImageError("the disk that systemd-repart made has no GPT of 512-byte sectors")
    first, count, size = struct.unpack_from("<QII", header, 72)
    for number in range(count):
        disk.seek(first * 512 + number * size)
        entry = disk.read(size)
        if uuid.UUID(bytes_le=entry[:16]) == BIOS_BOOT:
            return int(struct.unpack_from("<Q", entry, 32)[0])
    raise ImageError("the disk that systemd-repart made has no BIOS boot partition")


def embed_grub(disk: BinaryIO, boot: bytes) -> None:
    """Do what grub-bios-setup does, without a block device: `boot` into the MBR, sectors into it and into the core."""
    start = bios_partition(disk)
    code = bytearray(boot[:440])
    struct.pack_into("<Q", code, KERNEL_SECTOR, start)
    code[DRIVE_CHECK : DRIVE_CHECK + 2] = b"\x90\x90"  # believe the drive that the BIOS names
    disk.seek(0)
    disk.write(code)
    disk.seek(start * 512 + BLOCK_LIST)
    disk.write(struct.pack("<Q", start + 1))


def raw(tree: Path, target: Path) -> None:
    """Write the disk `target`: GPT, boots under UEFI (systemd-boot) and BIOS (GRUB)."""
    need_root()
    need_tools(TOOLS)
    need_space(target, root.size(tree) * 2 + ESP_MEBIBYTES + 500)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = beside(target)
    with tempfile.TemporaryDirectory(prefix=".rota-disk-", dir=target.parent) as folder:
        work = Path(folder)
        try:
            ext4(tree, work / "root")
            boot_partition(tree, work)
            grub_core(tree, work)
            (work / "repart.d").mkdir()
            for name, text in DEFINITIONS.items():
                (work / "repart.d" / name).write_text(f"[Partition]\n{text}\n")
            # Debian 13's own: the one of an older builder cannot work offline. 512: else the boot partition does not boot.
            root.chroot(tree, "systemd-repart", "--offline=yes", "--sector-size=512", "--empty=create", "--size=auto",
                        "--dry-run=no", "--definitions=/mnt/repart.d", "/mnt/disk", work=work)  # fmt: skip
            with (work / "disk").open("r+b") as disk:
                embed_grub(disk, (tree / "usr/lib/grub/i386-pc/boot.img").read_bytes())
            (work / "disk").rename(unfinished)
            unfinished.rename(target)
        finally:
            remove(unfinished)
    used = target.stat().st_blocks >> 11
    say(f"{target}: boots under UEFI and BIOS, {target.stat().st_size >> 20} MiB, {used} MiB on disk")
