"""The certificates that HAProxy shows: when each ends, by HAProxy's own word.

A file that was renewed on the disk and not loaded still ends in the eyes of clients, so the files are not looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rota.control.runtime import RuntimeFailed
from rota.control.state import Certificate

if TYPE_CHECKING:
    from rota.control.config import Config
    from rota.control.core import Core

PACE = 600.0  # seconds between two looks
RETRY = 15.0  # and while HAProxy does not answer
AT_ONCE = 50  # certificates in one question
WARN, CRITICAL = timedelta(days=30), timedelta(days=3)
_NAME = re.compile(r"^(/[^\s;]+)$", re.M)
_ONE = re.compile(r"^Filename: (\S+)\n(?:.*\n)*?notAfter: (.+) GMT$", re.M)


def names(answer: str) -> list[str]:
    """The files in HAProxy's `show ssl cert`."""
    return _NAME.findall(answer)


def ends(answer: str) -> list[Certificate]:
    """The certificates in HAProxy's answer to `show ssl cert FILE`, several of them in a row."""
    found = []
    for part in re.split(r"^(?=Filename: )", answer, flags=re.M):
        if one := _ONE.match(part):
            with contextlib.suppress(ValueError):
                end = datetime.strptime(" ".join(one[2].split()), "%b %d %H:%M:%S %Y").replace(tzinfo=UTC)
                found.append(Certificate(name=Path(one[1]).name, ends=end))
    return found


class Served:
    """Looks from time to time, and raises an alarm in time."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
                pause = PACE
            except RuntimeFailed:  # that HAProxy is silent is an alarm of its own
                pause = RETRY
            await asyncio.sleep(pause)

    async def look(self) -> None:
        """Ask HAProxy; raises RuntimeFailed."""
        core = self._core
        found: list[Certificate] = []
        files = names(await core.runtime.command("show ssl cert"))
        for first in range(0, len(files), AT_ONCE):
            asked = [f"show ssl cert {file}" for file in files[first : first + AT_ONCE]]
            found += ends(await core.runtime.command(*asked))
        core.certificates = sorted(found, key=lambda one: (one.ends, one.name))
        self._judge()

    def _judge(self) -> None:
        board, now = self._core.board, self._core.clock.now()
        board.keep_only("certificate:", {f"certificate:{one.name}" for one in self._core.certificates})
        for one in self._core.certificates:
            left = one.ends - now
            said = "has ended" if left < timedelta(0) else f"has {left.days} days left"
            text = f"the certificate {one.name} that HAProxy shows {said}"
            board.hold(f"certificate:{one.name}", left < WARN, "critical" if left < CRITICAL else "warning", text)

    async def close(self) -> None:
        """End it."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def start(core: Core, config: Config) -> Served:
    """Begin to look."""
    return Served(core)
