"""The API on a real UNIX socket, with a controller in memory."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from rota.control.access import Access, Caller
from rota.control.api import Api
from rota.control.connection import Limits
from unit.api.double import Double

ROOT = Caller(0, frozenset({0}))
OPERATORS, VIEWERS = 3001, 3002


class Who:
    """Who calls, as the tests want it; the kernel's own word is tested in test_access."""

    def __init__(self) -> None:
        self.caller = ROOT

    def __call__(self, _: object) -> Caller:
        return self.caller


@pytest.fixture
def who() -> Who:
    return Who()


@pytest.fixture
def double() -> Double:
    return Double()


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest_asyncio.fixture
async def socket_path(tmp_path: Path, double: Double, who: Who, limits: Limits) -> AsyncIterator[Path]:
    api = Api(double, Access(frozenset({OPERATORS}), frozenset({VIEWERS})), identify=who, limits=limits, heartbeat=0.2)
    path = Path(os.path.relpath(tmp_path)) / "rotad.sock"
    await api.start(path)
    yield path
    await api.close()


@pytest_asyncio.fixture
async def http(socket_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(path=str(socket_path))
    async with aiohttp.ClientSession("http://rotad", connector=connector) as session:
        yield session


Make = Callable[[], None]
