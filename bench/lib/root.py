"""A Debian 13 root with everything that is measured, so that all sides have the versions of a real node.

The programs run through `chroot`; network and processor are the host's.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
ROOT = TOP / ".lab/bench"
PACKAGES = ("ca-certificates", "dcmtk", "haproxy", "libnginx-mod-stream", "nginx-light")


def ensure_root(target: Path = ROOT) -> Path:
    """Build the root if it is not there (about half a minute), whole or not at all, and return its path."""
    if target.is_dir():
        return target
    sys.path.insert(0, str(TOP / "roles/lab/files"))
    lab_debian = importlib.import_module("lab_debian")  # found through the line above
    subprocess.run([TOP / "tools/host-packages", "mmdebstrap"], check=True)
    unfinished = target.with_name(target.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    command = ["mmdebstrap", "--quiet", "--variant=apt", "--format=directory", "--aptopt=Apt::Install-Recommends false"]
    command += [f"--aptopt={option}" for option in lab_debian.fetch_options()]
    command += [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale")]
    command += [f"--include={','.join(PACKAGES)}", lab_debian.SUITE, str(unfinished), *lab_debian.sources()]
    subprocess.run(command, check=True)
    unfinished.rename(target)
    return target
