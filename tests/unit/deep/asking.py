"""A question as the model makes it, for a peer on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rota.control.deep.question import Places, Question, questions
from rota.model import parse


def question(port: int, check: dict[str, Any], folder: Path | None = None, **service: Any) -> Question:
    """One question to 127.0.0.1:`port`; `folder` holds credentials and certificates."""
    document = {
        "site": {
            "name": "test",
            "nodes": {"lb1": {"address": "203.0.113.11"}},
            "networks": {"lan": {"prefix": "203.0.113.0/24", "interface": "eth0"}},
        },
        "services": {
            "pacs": {
                "profile": "dicom",
                "address": "203.0.113.100",
                "members": {"pacs-a": {"address": "127.0.0.1", "port": port, "called_ae": "PACS_A"}},
                "deep": [{"port": port, "timeout": "5s", **check}],
                **service,
            }
        },
    }
    result = parse(document)
    assert result.site is not None, result.problems
    folder = folder or Path("/nonexistent")
    [found] = questions(result.site, "lb1", Places(folder, folder, "nobody"))
    return found


def login(folder: Path, username: str, password: str, name: str = "login") -> None:
    """Write a file of credentials."""
    (folder / name).write_text(f'username = "{username}"\npassword = "{password}"\n')
