"""Files that are either the old ones or the new ones, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write(path: Path, text: str, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace `path` by `text` in one step.

    `durable` waits until it is on the disk (intents); files in /run need no such wait. Raises OSError, and then leaves
    the old file and no litter.
    """
    unfinished = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    if durable:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def set_aside(path: Path, stamp: str) -> Path:
    """Move a damaged file out of the way and say where it is now; it may be of use to somebody."""
    for number in range(1000):
        aside = path.with_name(f"{path.name}.damaged-{stamp}" + (f"-{number}" if number else ""))
        if not aside.exists():
            os.replace(path, aside)
            return aside
    raise FileExistsError(f"{path}: a thousand damaged files lie beside it")
