"""Make the package archive: one tar of a flat apt repository for a bare Debian 13 node.

Usage: build_debs.py LIST CACHE TAR

LIST names packages, one a line; CACHE keeps the root of the lab's bare node, so that the archive holds
exactly what such a node lacks, dependencies included. A node needs no mirror then. Nothing is fetched
while the list and the node are what TAR was made from.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import build_image
import lab_debian


def wanted(text: str) -> list[str]:
    """Return the package names of a list with `#` comments."""
    return [name for line in text.splitlines() if (name := line.partition("#")[0].strip())]


def download(packages: list[str], status: Path, work: Path) -> Path:
    """Fetch `packages` and what they need beyond `status` with the host's apt; return the folder."""
    archives = work / "archives"
    for folder in (archives / "partial", work / "state/lists/partial", work / "etc"):
        folder.mkdir(parents=True)
    (work / "sources.list").write_text("\n".join(lab_debian.sources()) + "\n")
    settings = {
        "Dir::State": str(work / "state"),
        "Dir::State::status": str(status),
        "Dir::Cache": str(work),
        "Dir::Cache::archives": str(archives),
        "Dir::Etc::SourceList": str(work / "sources.list"),
        "Dir::Etc::SourceParts": str(work / "etc"),
        "Dir::Etc::PreferencesParts": str(work / "etc"),
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "APT::Keep-Downloaded-Packages": "true",
        "APT::Update::Post-Invoke-Success::": "true",
        "Debug::NoLocking": "true",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    subprocess.run(["apt-get", "-qq", *options, "update"], check=True)
    subprocess.run(["apt-get", "-qq", *options, "--yes", "--download-only", "install", *packages], check=True)
    for deb in archives.glob("*_*%3a*.deb"):
        # apt's cache keeps the epoch in the name, escaped; a file: archive would look for it unescaped.
        deb.rename(deb.with_name(re.sub(r"_\d+%3a", "_", deb.name)))
    return archives


def index(archives: Path) -> str:
    """Return the `Packages` file of a flat repository of the `.deb` files in `archives`."""
    stanzas = []
    for deb in sorted(archives.glob("*.deb")):
        control = subprocess.run(["dpkg-deb", "--field", deb], check=True, capture_output=True, text=True)
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        place = f"Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}"
        stanzas.append(f"{control.stdout.strip()}\n{place}\n")
    return "\n".join(stanzas)


def node_status(root: Path, work: Path) -> Path:
    """Return the dpkg status file of the root tar of a bare node, unpacked into `work`."""
    with tarfile.open(root) as tar:
        member = tar.extractfile("./var/lib/dpkg/status")
        if member is None:
            raise SystemExit(f"lab: {root} has no package list")
        (work / "status").write_bytes(member.read())
    return work / "status"


def main() -> None:
    """Build the archive named on the command line."""
    packages_list, cache, target = (Path(word).resolve() for word in sys.argv[1:4])
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = packages_list  # a bare node holds no Python package of ours: any file will do
    key = f"{build_image.digest('node', lock)} {hashlib.sha256(packages_list.read_bytes()).hexdigest()}"
    made_from = target.with_suffix(".from")
    if target.exists() and made_from.exists() and made_from.read_text() == key:
        return
    root = build_image.ensure_root("node", cache, lock)
    with tempfile.TemporaryDirectory(prefix="rota-debs-") as folder:
        archives = download(wanted(packages_list.read_text()), node_status(root, Path(folder)), Path(folder))
        (archives / "Packages").write_text(index(archives))
        unfinished = target.with_suffix(".part")
        with tarfile.open(unfinished, "w") as tar:
            # Times and owners fixed: the same packages make the same tar.
            for path in sorted(archives.iterdir()):
                if path.is_file() and path.name != "lock":
                    info = tar.gettarinfo(path, arcname=path.name)
                    info.uid = info.gid = info.mtime = 0
                    info.uname = info.gname = "root"
                    info.mode = 0o644
                    with path.open("rb") as handle:
                        tar.addfile(info, handle)
        unfinished.rename(target)
    made_from.write_text(key)
    print(f"{target.name}: {target.stat().st_size >> 20} MiB")


if __name__ == "__main__":
    main()
