"""What every step of the build shares: progress lines, errors of one line, programs run by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
STARTED = time.monotonic()


class ImageError(Exception):
    """Why no image was made: one line that names the remedy."""


def say(text: str) -> None:
    """Print one line of progress, with the seconds since the start, on standard error."""
    print(f"image {time.monotonic() - STARTED:6.1f} s  {text}", file=sys.stderr, flush=True)


def run(
    *command: str | Path, env: Mapping[str, str | None] | None = None, cwd: Path | None = None, text: str | None = None
) -> str:
    """Run a program and return what it printed; its own words are the error when it fails. None in `env` unsets."""
    words = [str(word) for word in command]
    whole = {key: value for key, value in {**os.environ, **(env or {})}.items() if value is not None}
    done = subprocess.run(words, env=whole, cwd=cwd, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
        raise ImageError(f"{' '.join(words[:4])} … failed (exit {done.returncode}):\n" + "\n".join(said[-30:]))
    return done.stdout


def need_root(uid: int | None = None) -> None:
    """Refuse to begin as anybody but root: mmdebstrap, chroot and file owners need it."""
    if (os.geteuid() if uid is None else uid) != 0:
        raise ImageError("building an image takes root (owners, chroot): run it as root")


def need_tools(tools: Mapping[str, str]) -> None:
    """Refuse to begin without the programs in `tools` (name → Debian package)."""
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = {tool: package for tool, package in tools.items() if not shutil.which(tool, path=search)}
    if missing:
        packages = " ".join(dict.fromkeys(missing.values()))
        raise ImageError(f"missing here: {', '.join(missing)}; install them with: apt-get install {packages}")


def need_space(folder: Path, mebibytes: int) -> None:
    """Refuse to begin where fewer than `mebibytes` are free; `folder` may not exist yet."""
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free >> 20
    if free < mebibytes:
        raise ImageError(f"{place} has {free} MiB free, this takes {mebibytes} MiB: make room or choose another folder")


def beside(target: Path) -> Path:
    """Where a file or folder lies until it is whole; what an earlier run left there is removed."""
    unfinished = target.with_name(f".{target.name}.part")
    remove(unfinished)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    return unfinished


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
