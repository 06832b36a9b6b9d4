"""A folder that programs of other accounts reach."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """A folder that everybody may enter; gone at the end.

    pytest keeps its own folders from other accounts, and closes the topmost anew whenever another run begins.
    """
    with tempfile.TemporaryDirectory(prefix="rota-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
