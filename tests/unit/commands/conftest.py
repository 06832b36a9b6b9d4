"""The command against the real API on a UNIX socket, whose controller is in memory."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rota import cli
from rota.control.access import Access
from rota.control.api import Api
from unit.api.double import Double


class Rotad:
    """rotad's face in a thread: it can stop and start, and the double behind it is the tests' to change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.double = Double()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._api: Api | None = None

    def start(self) -> None:
        self._api = Api(self.double, Access(frozenset(), frozenset()), heartbeat=0.2)
        self._run(self._api.start(self.path))

    def stop(self) -> None:
        if self._api:
            self._run(self._api.close())
            self._api = None

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def soon(self, call: Callable[..., Any], *args: Any) -> None:
        self._loop.call_soon_threadsafe(call, *args)

    def _run(self, coroutine: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result(10)


@dataclass
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def rotad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rotad]:
    path = Path(os.path.relpath(tmp_path)) / "rotad.sock"
    monkeypatch.setenv("ROTA_SOCKET", str(path))
    found = Rotad(path)
    found.start()
    yield found
    found.close()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*argv: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["rota", *argv])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return Ran(int(end.value.code or 0), out, err)

    return run
