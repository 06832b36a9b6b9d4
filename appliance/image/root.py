"""The root tree: Debian 13 by mmdebstrap (kept, by a hash of what it is made of), then the roles, then the seal."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from image import seal
from image.step import TOP, ImageError, beside, need_root, need_space, need_tools, remove, run, say

sys.path.insert(0, str(TOP / "roles/lab/files"))

import lab_debian  # noqa: E402 (found through the line above)

HERE = Path(__file__).resolve().parent
LISTS = (HERE / "packages.txt", TOP / "requirements/debs.txt")
RECIPE = 1  # raise it when `bootstrap` makes something else of the same ingredients
TOOLS = {"mmdebstrap": "mmdebstrap", "tar": "tar", "unshare": "util-linux", "chroot": "coreutils"}
WITHOUT = ("doc", "info", "locale", "man", "lintian", "bug")
SPACE = 4000  # MiB: the kept tar, the tree, and what apt needs meanwhile


@dataclass(frozen=True)
class Site:
    """A site that is baked in: the folder of its inventory, and which of its nodes the image is."""

    inventory: Path
    node: str


def packages() -> list[str]:
    """Names of all Debian packages of the image, without what they depend on."""
    lines = [line.partition("#")[0].strip() for path in LISTS for line in path.read_text().splitlines()]
    return sorted({line for line in lines if line})


def digest() -> str:
    """Short hash of all that decides what the tree is before the roles."""
    sums = hashlib.sha256(f"{RECIPE} {lab_debian.SUITE} {WITHOUT} {packages()}".encode())
    for path in sorted((HERE / "early").rglob("*")):
        if path.is_file():
            sums.update(str(path.relative_to(HERE)).encode() + b"\0" + path.read_bytes())
    return sums.hexdigest()[:12]


def bootstrap(cache: Path) -> Path:
    """Return the tar of the tree before the roles, made if `cache` lacks it; older ones are dropped."""
    target = cache / f"base-{digest()}.tar"
    if target.exists():
        say(f"Debian {lab_debian.SUITE} is there already ({target.name})")
        return target
    say(f"Debian {lab_debian.SUITE} with {len(packages())} packages and what they need (mmdebstrap, about a minute)")
    unfinished = beside(target)
    with tempfile.TemporaryDirectory(prefix="rota-image-") as folder:
        listed = Path(folder, "sources.list")
        listed.write_text("\n".join(lab_debian.sources()) + "\n")
        options = [f"--aptopt={line}" for line in (*lab_debian.fetch_options(), 'APT::Install-Recommends "false"')]
        options += ["--dpkgopt=force-unsafe-io", "--skip=cleanup/apt/lists"]
        options += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in WITHOUT]
        options += [f"--essential-hook=cp -RT --preserve=mode '{HERE / 'early'}' \"$1\""]
        try:
            run("mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", f"--include={','.join(packages())}",
                *options, lab_debian.SUITE, unfinished, listed)  # fmt: skip
            unfinished.rename(target)
        finally:
            remove(unfinished)
    for old in cache.glob("base-*.tar"):
        if old != target:
            old.unlink()
    return target


def inventory(tree: Path, site: Site | None, folder: Path) -> list[str]:
    """Write the inventory that says where the tree is; return Ansible's options. It comes last, so it has the last word."""
    node = site.node if site else "rota"
    here = {"ansible_connection": "community.general.chroot", "ansible_host": str(tree)}
    # a node that a host file of the site spells out stays one of its group: only where it is reached is said here
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": {node: here}}}))
    options = ["-i", str(site.inventory)] if site else []
    return [*options, "-i", str(folder / "hosts.json"), "-e", f"rota_image_node={node}"]


# A mount namespace of its own: nothing stays mounted, whatever ends the build. /proc cannot be written through, so no
# role can set the builder's kernel.
CHROOTED = """
set -eu
mount -t proc -o ro,nosuid,nodev,noexec proc "$1/proc"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$1/run"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$1/tmp"
mount -t tmpfs -o mode=755,nosuid tmpfs "$1/dev"
for device in null zero full random urandom; do
  touch "$1/dev/$device"; mount --bind "/dev/$device" "$1/dev/$device"
done
ln -s /proc/self/fd "$1/dev/fd"
[ -z "$ROTA_WORK" ] || mount --bind "$ROTA_WORK" "$1/mnt"
shift
exec "$@"
"""


def inside(tree: Path, *command: str | Path, cwd: Path = TOP, env: dict[str, str | None] | None = None) -> str:
    """Run a program of the host with the tree fit for chroot: proc, dev, run and tmp, which vanish with the program."""
    words = ("unshare", "--mount", "--propagation=private", "sh", "-c", CHROOTED, "sh", tree.resolve(), *command)
    return run(*words, cwd=cwd, env={"ROTA_WORK": "", **(env or {})})


def chroot(tree: Path, *command: str | Path, work: Path | None = None) -> str:
    """Run a program of the tree in it; `work` is /mnt there."""
    home: dict[str, str | None] = {
        "HOME": "/root",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "ROTA_WORK": str(work.resolve()) if work else "",
    }
    return inside(tree, "chroot", tree, *command, env=home)


def apply_roles(tree: Path, site: Site | None) -> None:
    """Apply the roles to `tree`: packages by the host's own apt sources, Python packages from the wheelhouse."""
    tree = tree.resolve()
    playbook = shutil.which("ansible-playbook", path=f"{TOP}/.venv/bin:{os.environ.get('PATH', '')}")
    wheelhouse = TOP / "dist/wheelhouse/rota-wheelhouse.tar"
    if not playbook:
        raise ImageError("missing here: ansible-playbook; install it with: make setup")
    if not wheelhouse.is_file():
        raise ImageError(f"there is no {wheelhouse.relative_to(TOP)}; make it with: make wheelhouse")
    say(f"roles, as {site.node} of {site.inventory.name}" if site else "roles, without a site")
    with seal.opened(tree, lab_debian.sources(), lab_debian.fetch_options()), \
            tempfile.TemporaryDirectory(prefix="rota-image-") as folder:  # fmt: skip
        options = inventory(tree, site, Path(folder))
        env: dict[str, str | None] = {"ANSIBLE_CONFIG": str(TOP / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        env |= {name: None for name in os.environ if name.startswith("PIP_")}  # the builder's pip is not the tree's
        said = inside(tree, playbook, *options, "-e", f"rota_wheelhouse={wheelhouse}", TOP / "playbooks/image.yml", env=env)
    for line in said.splitlines():
        if "ok=" in line:
            say(" ".join(line.split()))


def build(target: Path, cache: Path, site: Site | None) -> None:
    """Make the root tree at `target`, whole or not at all; a tree that is there is replaced."""
    need_root()
    need_tools(TOOLS)
    need_space(target, SPACE)
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = beside(target)
    try:
        base = bootstrap(cache)
        unfinished.mkdir(mode=0o755)
        say("unpacking")
        run("tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xf", base, "-C", unfinished)
        apply_roles(unfinished, site)
        finish(unfinished, site)
        remove(target)
        unfinished.rename(target)
    finally:
        remove(unfinished)
    say(f"{target}: {size(target)} MiB")


def again(target: Path, site: Site | None) -> None:
    """Apply the roles once more to a tree that is there: quick, for who works on a role."""
    need_root()
    need_tools(TOOLS)
    if not (target / "etc/debian_version").is_file():
        raise ImageError(f"{target} is no root tree; make one with: appliance/image/build root {target}")
    apply_roles(target, site)
    finish(target, site)


def finish(tree: Path, site: Site | None) -> None:
    """Add what makes a machine of the tree, and take away what must not be the same on two machines."""
    seal.overlay(tree, HERE / "files")
    (tree / "efi").mkdir(mode=0o700, exist_ok=True)
    seal.close(tree, site=site is not None)


def size(tree: Path) -> int:
    """Mebibytes that a tree takes."""
    return int(subprocess.run(["du", "-sm", tree], capture_output=True, text=True, check=True).stdout.split()[0])  # noqa: S603, S607
