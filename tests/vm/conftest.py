"""The VM tier: boots the pair once, brings it back to the same state before each scenario, keeps what a failed one left."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from lib.reaper import Reaper
from vm.lib import ready, rig
from vm.lib.capture import Capture
from vm.lib.channel import Gone

KEPT = ready.TOP / "build/vm"
_FAILED: pytest.StashKey[bool] = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether the scenario failed, and say where to look."""
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
        report.sections.append(("VM tier", f"consoles, journals and packets: {_folder(item)}"))
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let pynetdicom, which serves the members here, leave the sockets of ended associations to the garbage collector."""
    ignored = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    for item in items:
        if item.path.parent == Path(__file__).parent:  # the hook is given every test of a run
            item.add_marker(ignored)


def _folder(item: pytest.Item) -> Path:
    return KEPT / item.name.translate(str.maketrans("[]:/", "----"))


def _keep(made: rig.Rig, folder: Path) -> None:
    """Put everything that says what happened into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for node in made.nodes:
        shutil.copy(node.console, folder / f"{node.name}.console.log")
        with suppress(Gone, OSError):
            (folder / f"{node.name}.journal.log").write_text(
                node.run("journalctl", "-b", "--no-pager", "-o", "short-precise").out
            )
            (folder / f"{node.name}.ipvs.log").write_text(
                node.run("sh", "-c", "ipvsadm -Ln; ipvsadm -Lnc; ip -br address").out
            )
    for packets in made.folder.glob("*.pcap"):
        shutil.copy(packets, folder)


@pytest.fixture(scope="session")
def pair() -> Iterator[rig.Rig]:
    """Both machines, booted and steady, and a snapshot of that."""
    try:
        ready.look()
        disks = ready.disks()
    except ready.NotReady as why:
        pytest.exit(f"vm: {why}", returncode=3)
    reaper = Reaper()
    try:
        made = rig.build(ready.CACHE / "run", disks, reaper)
        try:
            made.boot()
        except (AssertionError, TimeoutError):
            _keep(made, KEPT / "boot")
            raise
        yield made
    finally:
        reaper.finish()


@pytest.fixture
def vms(pair: rig.Rig, request: pytest.FixtureRequest) -> Iterator[rig.Rig]:
    """The pair as every scenario finds it."""
    shutil.rmtree(_folder(request.node), ignore_errors=True)
    captures = [Capture(pair.network, bridge, pair.folder / f"{bridge}.pcap") for bridge in rig.BRIDGES]
    try:
        try:
            pair.begin()
        except BaseException:
            request.node.stash[_FAILED] = True
            raise
        yield pair
    finally:
        for capture in captures:
            capture.stop()
        if request.node.stash.get(_FAILED, False):
            _keep(pair, _folder(request.node))
