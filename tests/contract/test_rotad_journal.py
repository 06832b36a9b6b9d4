"""A journal of a hundred thousand events holds up nothing else that rotad does."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from contract.rotad_node import service, site
from pydantic import TypeAdapter
from rota.control.clock import Clock
from rota.control.config import Config, PeerConfig
from rota.control.core import Core
from rota.control.journal import SLICE, WAITING, Journal
from rota.control.state import Event
from rota.model import parse

pytestmark = [pytest.mark.contract, pytest.mark.clock]
EVENTS = 100_000
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
STILL = 0.05  # seconds that the event loop may stand still: checks are asked and answered in it


@dataclass
class Hands:
    """A time of day that the test sets."""

    at: datetime = NOW - timedelta(days=29)

    def clock(self) -> Clock:
        return Clock(now=lambda: self.at)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A month of a site whose members flap."""
    folder = tmp_path_factory.mktemp("filled")
    hands = Hands()
    journal = Journal(folder / "journal.db", "lb1", hands.clock(), days=30, mebibytes=512)
    for number in range(EVENTS):
        hands.at += timedelta(days=29) / EVENTS
        names = {"service": f"s{number % 40}", "member": f"m{number % 25}"}
        journal.record(kind="verdict", before="up", after="down", reason="refused: nothing listens there", **names)
        if number % 5000 == 0:
            journal.flush()
    journal.flush()
    journal.close()
    return folder / "journal.db"


@pytest.fixture
def core(filled: Path, tmp_path: Path) -> Iterator[Core]:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/journal.db").write_bytes(filled.read_bytes())
    document = parse(site({"pacs": service(1, ["pacs-a"])}, nodes=("lb1",)))
    assert document.site is not None
    hands = Hands(NOW)
    nowhere = tmp_path / "nowhere"
    config = Config(
        node="lb1", site=nowhere, state_directory=tmp_path / "state", run_directory=tmp_path, haproxy_socket=nowhere,
        haproxy_state=nowhere, peer=PeerConfig("127.0.0.1", 0, nowhere, nowhere, nowhere), journal_days=30,
        journal_mebibytes=512,
    )  # fmt: skip
    made = Core(config, document.site, version="0", clock=hands.clock(), addresses=set)
    yield made
    made.journal.close()


async def longest_stop(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds that a task which only wants its turn had to wait at most, while `work` ran."""
    worst, ended = 0.0, False

    async def watch() -> None:
        nonlocal worst
        while not ended:
            asked = time.perf_counter()
            await asyncio.sleep(0)
            worst = max(worst, time.perf_counter() - asked)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    await work()
    ended = True
    await watching
    return worst


async def test_the_largest_answer_is_read_beside_the_loop(core: Core) -> None:
    async def ask() -> None:
        found = await core.events(None, None, None, 5000)
        assert len(found) == 5000
        TypeAdapter(list[Event]).dump_json(found)

    stops = [await longest_stop(ask) for _ in range(9)]
    print(f"asked for 5,000: the loop stood still {[f'{s * 1000:.0f} ms' for s in stops]}")
    assert statistics.median(stops) < STILL


async def test_half_a_month_is_removed_slice_by_slice(core: Core) -> None:
    core.journal._days = 15
    removed: list[int] = []

    async def prune() -> None:
        removed.append(core.journal.prune(by_age=True))

    stops = []
    while not removed or removed[-1]:
        stops.append(await longest_stop(prune))
        assert core.journal.flush()
        assert await asyncio.to_thread(core.journal.sync) is None
    print(f"removed {sum(removed)}: the loop stood still {max(stops) * 1000:.0f} ms at most")
    assert removed[0] == SLICE
    assert sum(removed) == pytest.approx(EVENTS * 14 / 29, abs=10)
    assert statistics.median(stops) < STILL
    assert len(await core.events(None, None, None, EVENTS)) == EVENTS - sum(removed)


async def test_what_a_full_disk_held_back_is_written_slice_by_slice(core: Core) -> None:
    """Ten thousand events wait at most, and the disk has room again."""

    async def save() -> None:
        assert await core.save_journal() is None

    stops = []
    for _ in range(3):
        for number in range(WAITING):
            core.record("verdict", service="pacs", member="pacs-a", after=str(number), reason="r" * 100)
        stops.append(await longest_stop(save))
        assert core.journal.waiting == 0
    print(f"wrote {WAITING}: the loop stood still {[f'{s * 1000:.0f} ms' for s in stops]}")
    assert statistics.median(stops) < STILL
    assert [e.after for e in await core.events(None, None, None, 2)] == [str(WAITING - 2), str(WAITING - 1)]
