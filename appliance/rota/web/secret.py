"""The key that signs session cookies: made on the node, known to nobody else."""

from __future__ import annotations

import secrets
from pathlib import Path

from rota.control import atomic

_BYTES = 32


def session_key(path: Path) -> str:
    """The key in the file at `path`, which is made if it is not there. A key that is too short is replaced."""
    try:
        found = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        found = ""
    if len(found) < _BYTES:
        found = secrets.token_urlsafe(_BYTES)
        atomic.write(path, found + "\n", mode=0o600)
    return found
