"""The command's fixtures, for `rota report`."""

import gc
from collections.abc import Iterator

import pytest
from unit.commands.conftest import rotad, run

__all__ = ["rotad", "run"]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """The command leaves the garbage alone, as a process that is about to end may; the tests go on."""
    yield
    gc.enable()
