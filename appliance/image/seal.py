"""Open a tree for the roles and close it again: what no two machines may share, and nothing of the builder, stays in it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from image.step import ImageError, remove, run

POLICY = "usr/sbin/policy-rc.d"
SOURCES = "etc/apt/sources.list.d/rota-build.list"
SETTINGS = "etc/apt/apt.conf.d/99rota-build"
RESOLVER = "etc/resolv.conf"

# Removed, whoever put it there. A folder loses what is in it; the folder stays.
GONE = (
    POLICY, SOURCES, SETTINGS, RESOLVER,
    "etc/apt/sources.list", "etc/apt/apt.conf.d/99mmdebstrap", "etc/hostname", "etc/.pwd.lock", "etc/machine-id",
    "var/lib/dbus/machine-id", "var/lib/systemd/random-seed", "var/lib/systemd/credential.secret", "root/.ansible",
    "root/.bash_history", "var/log/bootstrap.log", "var/log/dpkg.log", "var/log/alternatives.log",
    "var/lib/rota/rota-wheelhouse.tar",
)  # fmt: skip
EMPTIED = (
    "var/lib/apt/lists", "var/cache/apt/archives", "var/log/apt", "var/log/journal", "run", "tmp", "var/tmp",
    "dev", "proc", "sys",
)  # fmt: skip
EMPTIED_FILES = ("etc/ssh/ssh_host_*", "var/cache/apt/*.bin", "etc/apt/sources.list.d/*", "etc/apt/trusted.gpg.d/*",
                 "root/.ssh/*", "etc/*-")  # fmt: skip


@contextmanager
def opened(tree: Path, sources: Sequence[str], settings: Sequence[str]) -> Iterator[None]:
    """Lend the tree the builder's apt sources and resolver, and forbid it to start anything, while the roles run."""
    policy = tree / POLICY
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    (tree / SOURCES).write_text("\n".join(sources) + "\n")
    (tree / SETTINGS).write_text("".join(f"{line};\n" for line in settings))
    resolver = tree / RESOLVER
    resolver.unlink(missing_ok=True)
    if os.path.exists("/etc/resolv.conf"):
        shutil.copyfile("/etc/resolv.conf", resolver)
    try:
        yield
    finally:
        for name in (POLICY, SOURCES, SETTINGS, RESOLVER):
            (tree / name).unlink(missing_ok=True)


def overlay(tree: Path, files: Path) -> None:
    """Copy the image's own files over the tree, owned by root."""
    run("cp", "-RT", "--preserve=mode", "--no-dereference", files, tree)


def close(tree: Path, *, site: bool = False) -> None:
    """Take away what must not be the same on two machines, and prove that it is gone."""
    for name in GONE:
        remove(tree / name)
    for name in EMPTIED:
        for path in (tree / name).iterdir() if (tree / name).is_dir() else ():
            remove(path)
    for pattern in EMPTIED_FILES:
        for path in tree.glob(pattern):
            remove(path)
    # Empty, not absent: systemd makes one at the first boot, and leaves the units as they are enabled here (machine-id(5)).
    (tree / "etc/machine-id").write_text("")
    (tree / "var/lib/apt/lists/partial").mkdir(parents=True, exist_ok=True)
    (tree / "var/cache/apt/archives/partial").mkdir(parents=True, exist_ok=True)
    problems = secrets(tree, site=site)
    if problems:
        raise ImageError("the tree is not fit to be copied: " + "; ".join(problems))


def secrets(tree: Path, *, site: bool = False) -> list[str]:
    """What in `tree` must not be on two machines: keys, passwords, host keys, a machine id, a resolver, apt sources.

    A tree with a site's own node in it (`site`) has that node's key, and is that node only.
    """
    found = [f"/{name} is there" for name in GONE if name != "etc/machine-id" and os.path.lexists(tree / name)]
    found += [f"/{path.relative_to(tree)} is there" for pattern in EMPTIED_FILES for path in sorted(tree.glob(pattern))]
    if (tree / "etc/machine-id").read_text():
        found.append("/etc/machine-id names a machine")
    for line in (tree / "etc/shadow").read_text().splitlines():
        name, password = line.split(":")[:2]
        if not password.startswith(("*", "!")):
            found.append(f"the account {name} has a password, or needs none")
    return found + private_keys(tree, site=site)


MARKER = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
# a node's own certificate key, in a tree that is that node's
OF_THE_SITE = ("etc/rota/control", "etc/haproxy")


def private_keys(tree: Path, *, site: bool = False) -> list[str]:
    """Files with a private key in the places where keys lie."""
    found = []
    for place in ("etc", "root", "home", "var/lib", "opt/rota", "usr/local"):
        for path in sorted((tree / place).rglob("*")):
            name = str(path.relative_to(tree))
            # a published package may bring the keys of its own tests: everybody has those
            if path.is_symlink() or not path.is_file() or "/site-packages/" in name:
                continue
            if site and name.startswith(OF_THE_SITE):
                continue
            with path.open("rb") as handle:
                if MARKER.search(handle.read(65536)):
                    found.append(f"/{name} holds a private key")
    return found
