"""The pair under test: made by `molecule converge -s pair`, mended after every fault, its journals shown on failure."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator

import pytest
from lib.lab import NODES, Host
from lib.poll import wait_until
from pair.rig import archive, client, nodes
from pair.rig.mending import mend

# Steady first: the faults are only worth something on a pair that was well.
ORDER = [
    "test_steady", "test_dicom", "test_feeds", "test_member", "test_node", "test_reload", "test_control_pair",
    "test_control_drain", "test_runbooks", "test_rollout",
]  # fmt: skip
UNITS = ("haproxy", "keepalived", "rota-control", "rota-quickack")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files in the order of the scenario."""
    items.sort(key=lambda item: ORDER.index(item.path.stem) if item.path.stem in ORDER else -1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what both nodes said since the test began, if it failed."""
    report = yield
    began = item.stash.get(_BEGAN, None)
    if report.failed and began is not None:
        for name in NODES:
            words = ["journalctl", "--no-pager", "-o", "short-precise", f"--since=@{began:.0f}", "-n", "150"]
            for unit in UNITS:
                words += ["-u", unit]
            report.sections.append((f"journal of {name}", Host(name).run(*words).out))
    return report


_BEGAN: pytest.StashKey[float] = pytest.StashKey()


@pytest.fixture(scope="session", autouse=True)
def programs() -> Iterator[None]:
    """Put the senders into the client; a lab that is not there fails here, in one line. Leaves the pair as a fresh site."""
    assert client.CLIENT.is_up(), "the lab is not up: make lab"
    client.install()
    yield
    nodes.place(nodes.preferred())


@pytest.fixture(autouse=True)
def _clock(request: pytest.FixtureRequest) -> None:
    """Remember when the test began."""
    request.node.stash[_BEGAN] = time.time() - 1


@pytest.fixture(scope="module")
def steady() -> None:
    """A pair with nothing broken: asked once a file, as every fault is mended before the next test begins."""
    wait_until(nodes.steady, within=30, what="a steady pair", every=0.3)


@pytest.fixture
def fault(steady: None) -> Iterator[None]:
    """A steady pair that the test may break; it is mended after the test, and must then be steady again."""
    yield
    mend()


@pytest.fixture
def empty_archives() -> None:
    """Archives with nothing in them."""
    archive.clear()
