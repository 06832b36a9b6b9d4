"""The disk that is booted: built from this checkout, once; machines that end with the test, whatever came of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lib.reaper import Reaper

from machine.rig import Machine, key

TOP = Path(__file__).resolve().parents[2]
KEPT = TOP / "build/machine"


@pytest.fixture(scope="session")
def raw() -> Path:
    """The disk of the image (`make image-disk`)."""
    disk = TOP / "build/image/rota.raw"
    if not disk.is_file():
        pytest.exit(f"there is no {disk}: make image-disk", returncode=3)
    return disk


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Path:
    """Where consoles and disks of this module's machines stay, to be looked at."""
    place = KEPT / request.module.__name__.rpartition(".")[2]
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place


@pytest.fixture(scope="module")
def machines(folder: Path, raw: Path) -> Iterator[Callable[[str], Machine]]:
    """Make a machine with a name; all are ended at the end."""
    reaper, made = Reaper(), list[Machine]()

    def make(name: str) -> Machine:
        made.append(Machine(folder / name, raw, key(folder), reaper))
        return made[-1]

    try:
        yield make
    finally:
        for machine in made:
            machine.kill()
        reaper.finish()
