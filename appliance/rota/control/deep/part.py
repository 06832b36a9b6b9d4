"""Deep checks in the running rotad: schedule, agent, alarms, and what the core is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rota.control import agent, release
from rota.control.deep.ask import ask
from rota.control.deep.question import Places, Question, questions
from rota.control.deep.schedule import Schedule
from rota.control.deep.standing import Member, Standings
from rota.control.runtime import RuntimeFailed, target
from rota.control.state import Verdict
from rota.control.verdicts import main_row
from rota.model.deep import Effect

if TYPE_CHECKING:
    from rota.control.config import Config
    from rota.control.core import Core
    from rota.model import Site

log = logging.getLogger("rota.deep")

_TICK = 2.0
_FAILED = 2  # srv_check_result of HAProxy


class DeepChecks:
    """The part. Settings are table [deep] of rotad.toml: credentials, certificates, user, agent_port."""

    def __init__(self, core: Core, settings: dict[str, Any]) -> None:
        default = Places()
        self._core = core
        self._places = Places(
            Path(settings.get("credentials", default.credentials)),
            Path(settings.get("certificates", default.certificates)),
            str(settings.get("user", default.user)),
        )
        self._port = int(settings.get("agent_port", agent.PORT))
        self.standings = Standings(core.clock.steady, self._alive)
        self._schedule = Schedule(self.standings, ask, self._changed)
        self._agent = agent.Agent(self.standings.objection)
        self._site: Site | None = None
        self._asked: list[Question] = []
        self._told: set[Member] = set()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Forget what a rotad before this one said, listen, and begin to ask."""
        await self._release()
        self._look()
        await self._listen()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop asking; nobody stays out for what was said last."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._schedule.close()
        await self._agent.close()
        await self._release()

    async def _listen(self) -> None:
        """The agent's port is open from the first model with a deep check on."""
        if not self._asked or self._agent.listening:
            return
        try:
            await self._agent.start(port=self._port)
            self._core.board.clear("agent-port")
        except OSError as error:
            text = f"HAProxy cannot ask for deep checks: port {self._port}: {error.strerror}"
            self._core.board.raise_("agent-port", "critical", text)

    async def _release(self) -> None:
        runtime = self._core.runtime
        with contextlib.suppress(RuntimeFailed):
            await runtime.act(release.releases(await runtime.command("show stat -1 4 -1")))

    async def _tell(self, changed: set[Member], against: set[Member]) -> None:
        """Tell HAProxy at once what it would hear at its next question."""
        rows = [(m, row) for m in changed if self._core.snapshot and (row := main_row(self._core.snapshot, *m))]
        names = [(target(row.backend, row.server), "down" if member in against else "up") for member, row in rows]
        with contextlib.suppress(RuntimeFailed):
            for complaint in await self._core.runtime.act(f"set server {name} agent {word}" for name, word in names):
                log.warning("HAProxy: %s", complaint)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            try:
                self._look()
                await self._listen()
            except Exception:
                # the agent answers `up` for whatever is not known
                log.exception("a look at the deep checks failed")

    def _look(self) -> None:
        core = self._core
        if core.site is not self._site:
            self._site = core.site
            self._asked = list(questions(core.site, core.node, self._places))
            self._schedule.run(self._asked)
        members = dict.fromkeys((q.service_name, q.member_name) for q in self._asked)
        found = {member: said for member in members if (said := self._said(member)) is not None}
        if found != core.deep:
            core.deep.clear()
            core.deep.update(found)
            core.follower.stale = True
        against = {member for member, (verdict, _) in found.items() if verdict is Verdict.CANNOT_STORE}
        if against != self._told:
            core.spawn(self._tell(self._told ^ against, against))
            self._told = against
        self._alarms(list(members))

    def _said(self, member: Member) -> tuple[Verdict, str] | None:
        """What the core is told of a member; None when nothing is known."""
        known = [s for s in self.standings.member(member) if s.good is not None]
        if not known:
            return None
        failing = self.standings.failing(member)
        if failing:
            words = "; ".join(s.words() for s in failing)
            if self.standings.braked(member[0]):
                return Verdict.DOWN, f"{words}; kept in, because everybody fails"
            return Verdict.CANNOT_STORE, words
        warned = self.standings.failing(member, Effect.WARN)
        return Verdict.UP, "; ".join(s.words() for s in warned or known)

    def _alarms(self, members: list[Member]) -> None:
        board = self._core.board
        for service in dict.fromkeys(service for service, _ in members):
            text = f"every member of {service} fails its deep checks, so nobody is taken out: look at what all of them share"
            board.hold(f"deep-brake:{service}", self.standings.braked(service), "critical", text)
        keys = set()
        for question in self._asked:
            service, member, name = question.key
            standing, key = self.standings.of(question.key), f"deep:{service}/{member}/{name}"
            keys.add(key)
            # one that takes the member out has the alarm of the member
            warns = standing.good is False and question.check.effect is Effect.WARN
            broken = standing.good is None and standing.verdict is not None
            board.hold(key, warns or broken, "warning", f"{member} of {service}: {standing.words()}")
        board.keep_only("deep:", keys)

    def _alive(self, member: Member) -> bool:
        """Whether a member would serve if no deep check stood against it."""
        core = self._core
        if core.intents.state_of(member) != "ready":
            return False
        row = main_row(core.snapshot, *member) if core.snapshot else None
        return row is None or row.check_result != _FAILED

    def _changed(self, question: Question) -> None:
        service, member, _ = question.key
        standing = self.standings.of(question.key)
        bad = Verdict.CANNOT_STORE if question.check.effect is Effect.OUT else Verdict.UP
        words = {True: Verdict.UP, False: bad, None: Verdict.UNKNOWN}[standing.good]
        log.info("service=%s member=%s deep=%s %s", service, member, words, standing.words())
        self._core.record("deep", service=service, member=member, after=words, reason=standing.words()[:500])
        self._look()


async def start(core: Core, config: Config) -> DeepChecks:
    """Begin; close what is returned to end it."""
    part = DeepChecks(core, dict(config.raw.get("deep", {})))
    await part.start()
    return part
