"""rotad: start, loops, signals, end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import importlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from rota import __version__
from rota.control.addresses import Addresses
from rota.control.clock import JumpWatch
from rota.control.config import DEFAULT, BadConfig, Config, load
from rota.control.core import Core
from rota.control.notice import settings
from rota.control.notify import Notifier
from rota.model import Site, parse

log = logging.getLogger("rota.daemon")

FLUSH = 0.5
ALIVE = 15.0
PRUNE = 60.0
STEADY = 3600.0  # by age only with a clock that has been steady so long: a jump must not empty the journal
HUNG = 10.0  # seconds without a turn of the follower: the watchdog may bite
# Parts that start with the daemon when they are installed: an async `start(core, config)` that returns something to close.
PARTS = (
    "rota.control.serve",
    "rota.control.deep.part",
    "rota.control.ipvs",
    "rota.control.metrics",
    "rota.control.notices",
    "rota.control.served",
)


class Part(Protocol):
    """Something that runs beside the core."""

    async def close(self) -> None:
        """End it."""


def read_site(path: Path, node: str) -> Site:
    """The model in force; raises BadConfig with one line."""
    import json

    try:
        result = parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise BadConfig(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if result.site is None:
        first = next(p for p in result.problems if not p.warning)
        raise BadConfig(f"{path}: {first.path}: {first.text}")
    if node not in result.site.site.nodes:
        raise BadConfig(f"{path}: has no node {node}")
    return result.site


class Daemon:
    """The running rotad of one node."""

    def __init__(self, config: Config, site: Site, notifier: Notifier, **core: Any) -> None:
        """More arguments go to the core (tests: addresses, clock)."""
        self.config = config
        self.core = Core(config, site, version=__version__, **core)
        self._notifier = notifier
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._addresses = Addresses(self.core)
        self._jumps = JumpWatch(self.core.clock)
        self._beat = self.core.clock.steady()
        self._parts: list[Part] = []

    def stop(self) -> None:
        """Begin the end."""
        self._stop.set()

    def reload(self) -> None:
        """Read the model again, soon."""
        self._reload.set()

    async def run(self) -> None:
        """Work until `stop`."""
        core = self.core
        self._first_words()
        core.moves.recover()
        await core.follower.poll()
        self._addresses.look()
        await core.peers.start()
        for name in PARTS:
            await self._start_part(name)
        core.journal.flush()
        self._notifier.ready(f"follows HAProxy of {core.node}")
        loops = [
            self._follow(),
            self._tick(),
            self._windows(),
            self._addresses.run(),
            self._keep_journal(),
            self._watchdog(),
            self._reloads(),
        ]
        tasks = [asyncio.create_task(loop) for loop in loops]
        stopping = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()  # a loop never ends by itself: let its fault be seen, and systemd start a new rotad
        finally:
            self._notifier.stopping()
            stopping.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
            await self._close()

    def _first_words(self) -> None:
        core = self.core
        alive = core.journal.last_alive
        core.record("rotad", before=alive.isoformat() if alive else None, after="started", reason=f"version {core.version}")
        for damage in (core.journal.damage, core.intents.damage, core.windows.store.damage):
            if damage:
                core.record("rotad", after="damage", reason=damage[:200])
                core.board.raise_(f"damage:{damage.split()[1]}", "warning", damage)
        core.journal.damage = None

    async def _start_part(self, name: str) -> None:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and name.startswith(error.name):
                return
            raise
        try:
            self._parts.append(await module.start(self.core, self.config))
        except Exception as error:
            # the switch and the memory work without metrics or mail
            log.exception("%s does not start", name)
            self.core.board.raise_(f"part:{name}", "critical", f"{name} does not start: {error}")

    async def _close(self) -> None:
        core = self.core
        for part in reversed(self._parts):
            with contextlib.suppress(Exception):
                async with asyncio.timeout(2):
                    await part.close()
        core.record("rotad", after="stopped")
        core.journal.alive()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(3):
                await core.peers.close()
        await core.persist()
        core.journal.flush()
        core.journal.close()

    # --- loops

    async def _follow(self) -> None:
        while True:
            began = self.core.clock.steady()
            await self.core.follower.poll()
            self._beat = self.core.clock.steady()
            await asyncio.sleep(max(0.02, self.config.pace.follow - (self._beat - began)))

    async def _tick(self) -> None:
        core = self.core
        while True:
            if core.expire():
                async with core.acting:  # and only now made: an operator may just have said something else
                    await core.put_in_force(core.expire())
            if core.intents.problem:
                await core.persist()
            for key, problem in (("state-file", core.statefile.problem), ("track-files", core.bridge.problem)):
                core.board.hold(key, problem is not None, "critical", problem or "")
            core.moves.watch()
            if jump := self._jumps.jumped():
                core.record("rotad", after="clock-jumped", reason=f"the clock of {core.node} jumped by {jump:+.0f} s")
            await asyncio.sleep(0.5)

    async def _windows(self) -> None:
        while True:
            await self.core.windows.tick()
            await asyncio.sleep(0.5)

    async def _keep_journal(self) -> None:
        core = self.core
        alive_at = pruned_at = float("-inf")
        while True:
            now = core.clock.steady()
            if now - alive_at >= ALIVE:
                alive_at = now
                core.journal.alive()
            written = core.journal.waiting
            problem = await core.save_journal() if written or alive_at == now else core.journal.problem
            if core.journal.damage:
                core.record("rotad", after="damage", reason=core.journal.damage[:200])
                core.board.raise_("damage:journal", "warning", core.journal.damage)
                core.journal.damage = None
            text = f"{problem}; {core.journal.waiting} events wait in memory, {core.journal.lost} are lost"
            core.board.hold("journal", problem is not None, "critical", text)
            # a slice at a time: whatever there is to remove, the checks go on
            if now - pruned_at >= PRUNE and not core.journal.prune(by_age=self._jumps.steady_for() >= STEADY):
                pruned_at = now
            await asyncio.sleep(FLUSH)

    async def _watchdog(self) -> None:
        pause = min(self._notifier.watchdog or 30.0, 30.0) / 3
        while True:
            if self.core.clock.steady() - self._beat < HUNG:
                self._notifier.alive()
                problem = self.core.haproxy_problem
                words = "HAProxy is silent" if problem else "follows HAProxy"
                self._notifier.send(f"STATUS={words}; {len(self.core.board.current())} alarms")
            await asyncio.sleep(pause)

    async def _reloads(self) -> None:
        core = self.core
        while True:
            await self._reload.wait()
            self._reload.clear()
            self._notifier.reloading()
            try:
                # a large site takes a second to judge: the checks go on meanwhile
                core.set_site(await asyncio.to_thread(read_site, self.config.site, self.config.node))
                core.record("rotad", after="reloaded", reason=f"model {core.model_hash}")
                core.board.clear("model")
            except BadConfig as problem:
                core.record("rotad", after="reload-failed", reason=str(problem)[:200])
                core.board.raise_("model", "critical", f"the new model cannot be used, the old one stays: {problem}")
            self._notifier.ready(f"follows HAProxy of {core.node}")


@contextlib.contextmanager
def only_one(folder: Path) -> Any:
    """Hold the lock of the state directory; raises BadConfig when another rotad does."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise BadConfig(f"{folder}: another rotad works here") from None
    try:
        yield
    finally:
        os.close(descriptor)


async def serve(config: Config, site: Site, notifier: Notifier) -> None:
    """Run until SIGTERM or SIGINT; SIGHUP reads the model again."""
    daemon = Daemon(config, site, notifier)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.stop)
    loop.add_signal_handler(signal.SIGHUP, daemon.reload)
    await daemon.run()


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `rotad`."""
    parser = argparse.ArgumentParser(prog="rotad", description="The control daemon of a Rota node.")
    parser.add_argument("--config", type=Path, default=DEFAULT, metavar="PATH", help=f"configuration (default {DEFAULT})")
    parser.add_argument("--check", action="store_true", help="read configuration and model, say what is wrong, and end")
    parser.add_argument("--version", action="version", version=f"rotad {__version__}")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        config = load(options.config)
        try:
            settings.read(config.raw)  # a mistake must not wait for the first alarm that nobody gets
        except BadConfig as problem:
            raise BadConfig(f"{options.config}: {problem}") from None
        site = read_site(config.site, config.node)
        if options.check:
            return 0
        for folder in (config.state_directory, config.run_directory, config.track_directory, config.haproxy_state.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        with only_one(config.state_directory):
            asyncio.run(serve(config, site, Notifier()))
    except (BadConfig, OSError) as problem:
        print(f"rotad: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
