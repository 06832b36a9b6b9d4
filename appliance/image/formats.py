"""What hypervisors take: qcow2, OVA, VHDX and a compressed raw disk, with checksums and a manifest."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

from image import root
from image.step import TOP, ImageError, beside, need_space, need_tools, remove, run, say

TOOLS = {"qemu-img": "qemu-utils", "zstd": "zstd"}
DISK_BYTES = 10 << 30  # what a machine made from the image has; the root file system grows into it
OVF = (Path(__file__).parent / "rota.ovf").read_text()


def qcow2(raw: Path, target: Path) -> None:
    """KVM, Proxmox, OpenStack."""
    run(
        "qemu-img",
        "convert",
        "-q",
        "-f",
        "raw",
        "-O",
        "qcow2",
        "-c",
        "-o",
        "compression_type=zstd",
        "-W",
        "-m",
        "4",
        raw,
        target,
    )
    run("qemu-img", "resize", "-q", "-f", "qcow2", target, str(DISK_BYTES))


def vhdx(raw: Path, target: Path) -> None:
    """Hyper-V."""
    run("qemu-img", "convert", "-q", "-f", "raw", "-O", "vhdx", "-o", "subformat=dynamic", raw, target)


def raw_zst(raw: Path, target: Path) -> None:
    """Hardware: written to the machine's disk as it is."""
    run("zstd", "-q", "-f", "-T0", "-6", raw, "-o", target)


def ova(raw: Path, target: Path) -> None:
    """VMware: a tar of the description, its checksums and a stream-optimised disk, in this order (OVF 1.1, DSP0243)."""
    disk = beside(target.with_suffix(".vmdk"))
    try:
        run("qemu-img", "convert", "-q", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized,adapter_type=lsilogic",
            raw, disk)  # fmt: skip
        name = target.stem
        described = OVF.format(name=name, size=disk.stat().st_size, capacity=raw.stat().st_size, disk=f"{name}-disk1.vmdk")
        sums = f"SHA256({name}.ovf)= {hashlib.sha256(described.encode()).hexdigest()}\n"
        sums += f"SHA256({name}-disk1.vmdk)= {sha256(disk)}\n"
        with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as tar:
            for entry, text in ((f"{name}.ovf", described), (f"{name}.mf", sums)):
                info = tarfile.TarInfo(entry)
                info.size, info.mode = len(text.encode()), 0o644
                tar.addfile(info, io.BytesIO(text.encode()))
            info = tarfile.TarInfo(f"{name}-disk1.vmdk")
            info.size, info.mode = disk.stat().st_size, 0o644
            with disk.open("rb") as handle:
                tar.addfile(info, handle)
    finally:
        remove(disk)


FORMATS: dict[str, Callable[[Path, Path], None]] = {"qcow2": qcow2, "ova": ova, "vhdx": vhdx, "raw.zst": raw_zst}


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def manifest(tree: Path, files: dict[str, Path], site: root.Site | None) -> str:
    """What is in the image: packages with versions, the model's schema, and the files made of it."""
    listed = root.chroot(tree, "dpkg-query", "-W", "-f", "${Package} ${Version}\n")
    packages = dict(line.split(" ", 1) for line in listed.splitlines())
    venv = (tree / "opt/rota/current").resolve() if (tree / "opt/rota/current").exists() else None
    place = tree / f"opt/rota/venvs/{venv.name}" if venv else tree / "opt/rota/current"
    schema = root.chroot(tree, "/opt/rota/current/bin/rota", "schema")
    wheels = sorted(path.name.removesuffix(".dist-info") for path in place.glob("lib/python3*/site-packages/*.dist-info"))
    document = {
        "name": "rota",
        "rota": next((name.partition("-")[2] for name in wheels if name.startswith("rota-")), "unknown"),
        "debian": (tree / "etc/debian_version").read_text().strip(),
        "kernel": sorted(path.name.removeprefix("vmlinuz-") for path in (tree / "boot").glob("vmlinuz-*")),
        "model_schema_sha256": hashlib.sha256(schema.encode()).hexdigest(),
        # such an image is that node: it holds the node's key, and is kept like one
        "site": {"name": site.inventory.name, "node": site.node} if site else None,
        "files": {name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for name, path in files.items()},
        "packages": packages,
        "python": dict(wheel.rsplit("-", 1) for wheel in wheels),
    }
    return json.dumps(document, indent=2) + "\n"


def make(tree: Path, raw: Path, target: Path, site: root.Site | None) -> None:
    """Fill the folder `target`, whole or not at all: each format, SHA256SUMS, manifest.json."""
    need_tools(TOOLS)
    need_space(target, 4 * (raw.stat().st_blocks >> 11))
    name = f"rota-{site.inventory.name}-{site.node}" if site else "rota"
    unfinished = beside(target)
    try:
        unfinished.mkdir()
        files = {}
        for suffix, convert in FORMATS.items():
            path = unfinished / f"{name}.{suffix}"
            convert(raw, path)
            files[path.name] = path
            say(f"{path.name}: {path.stat().st_size >> 20} MiB")
        whole = unfinished / f"{name}.raw"
        run("cp", "--sparse=always", raw, whole)
        files[whole.name] = whole
        (unfinished / "manifest.json").write_text(manifest(tree, files, site))
        files["manifest.json"] = unfinished / "manifest.json"
        sums = "".join(f"{sha256(path)}  {entry}\n" for entry, path in sorted(files.items()))
        (unfinished / "SHA256SUMS").write_text(sums)
        remove(target)
        unfinished.rename(target)
    finally:
        remove(unfinished)
    say(f"{target.relative_to(TOP) if target.is_relative_to(TOP) else target}: {', '.join(sorted(files))}, SHA256SUMS")


def check(folder: Path) -> None:
    """Compare what lies in `folder` with its SHA256SUMS; the first difference is the error."""
    sums = folder / "SHA256SUMS"
    if not sums.is_file():
        raise ImageError(f"{folder} has no SHA256SUMS: copy the whole folder again, or make it with: make image")
    for line in sums.read_text().splitlines():
        wanted, name = line.split("  ", 1)
        path = folder / name
        if not path.is_file():
            raise ImageError(f"{path} is missing: copy it again")
        if sha256(path) != wanted:
            raise ImageError(f"{path} is corrupt (its SHA-256 is not that of SHA256SUMS): copy it again")
