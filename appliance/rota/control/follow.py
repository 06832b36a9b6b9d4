"""Follows HAProxy: every snapshot is compared with the last one, with the operators' intents and with layer 4."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from rota.control import enforce
from rota.control.runtime import ProcessInfo, RuntimeFailed, Snapshot
from rota.control.sessions import Session, sessions
from rota.control.state import IntentState, Verdict
from rota.control.verdicts import Change, Key, is_of, judge, main_row, takes_work

if TYPE_CHECKING:
    from rota.control.core import Core

log = logging.getLogger("rota.follow")

SILENT_AFTER = 1.0  # seconds; a reload takes less
STALE_AFTER = 60.0  # verdicts of a HAProxy that was gone longer say nothing


class Follower:
    """The follower of one core. `poll` is called several times a second."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._deep: dict[Key, tuple[Verdict, str]] = {}
        self._answered = core.clock.steady()
        self._statistics_at = float("-inf")
        self._cleared_at = float("-inf")
        self._enforced_at = float("-inf")
        self._state_at = float("-inf")
        self._state_due = False
        self._forgot_health = False
        self._silent = False
        self._looking = asyncio.Lock()
        self.tables: list[str] = []
        self.anew = False  # another model: every member is looked at again
        self.stale = True  # something changed that the next poll must look at

    async def poll(self) -> None:
        """Look once. Never raises for what HAProxy does."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        core = self._core
        try:
            snapshot = await core.runtime.servers()
            await self._seen(snapshot)
            await self._statistics()
        except RuntimeFailed as problem:
            self._unanswered(str(problem))
        now = core.clock.steady()
        if self._state_due and core.snapshot and not self._silent and now - self._state_at >= 1.0:
            self._keep_state(durable=False)

    def _unanswered(self, problem: str) -> None:
        core = self._core
        core.haproxy_problem = problem
        gone = core.clock.steady() - self._answered
        if gone < SILENT_AFTER:
            return
        if not self._silent:
            self._silent = True
            core.haproxy = None
            core.runtime.forget()
            core.record("haproxy", after="down", reason=problem[:200])
        core.board.raise_("haproxy-silent", "critical", f"HAProxy of {core.node} gives no answer: {problem}")
        # with its intents it must come back even if nobody is here then
        forget = gone >= STALE_AFTER or core.snapshot is None
        if self.stale or (forget and not self._forgot_health):
            core.statefile.rewrite(core.wanted(), forget_health=forget)
            self._forgot_health, self.stale = forget, False

    async def _seen(self, snapshot: Snapshot) -> None:
        core = self._core
        first, self._answered = core.snapshot is None, core.clock.steady()
        changed = first or self.anew or core.snapshot is None or snapshot.rows != core.snapshot.rows or self._silent
        self.anew = False
        core.snapshot, core.snapshot_at, core.haproxy_problem = snapshot, core.clock.steady(), None
        if self._silent or core.haproxy is None:
            await self._back()
        if core.intents.begun_anew:
            self._adopt(snapshot)
        due = core.clock.steady() - self._enforced_at >= core.config.pace.reclear
        if changed or self.stale or due:
            self._state_due = self._state_due or changed or self.stale
            self.stale = False
            try:
                changed = await self.enforce() or changed
            except RuntimeFailed:
                self.stale = True  # not done: again with the next snapshot
                raise
        if changed or core.deep != self._deep or core.any_braked():
            await self._judge()
        if core.clock.steady() - self._cleared_at >= core.config.pace.reclear:
            await self.forget_callers([key for key in core.members() if core.intents.state_of(key) is not IntentState.READY])

    async def _back(self) -> None:
        core = self._core
        core.haproxy = await core.runtime.info()
        self.tables = await core.runtime.tables()
        if self._silent:
            self._silent = False
            core.record("haproxy", before="down", after="up")
        core.board.clear("haproxy-silent")
        self._forgot_health = False

    def _adopt(self, snapshot: Snapshot) -> None:
        """The record of intents was lost, or never was: what HAProxy still drains stays drained."""
        core = self._core
        found = [(key, enforce.forced(row)) for key in core.members() for row in enforce.own_rows(snapshot, key)[:1]]
        for intent in core.intents.adopt([(key, state) for key, state in found if state is not IntentState.READY]):
            core.record_intent(None, intent)
        core.persist_soon()

    # --- intents

    async def enforce(self) -> bool:
        """Bring HAProxy to what is wanted; tells whether that took anything. Raises RuntimeFailed."""
        core = self._core
        if core.snapshot is None:
            return False
        self._enforced_at = core.clock.steady()
        needed = enforce.corrections(core.snapshot, core.members(), core.intents.state_of)
        if not needed:
            core.board.clear("haproxy-refuses")
            return False
        halted = {key for key in needed if core.intents.state_of(key) is IntentState.HALT}
        cut = await self.connected(halted) if halted else []
        complaints = await core.runtime.act([command for commands in needed.values() for command in commands])
        if halted:
            await core.old.cut(lambda s: any(s.server == key[1] and is_of(s.backend, key[0]) for key in halted))
        for complaint in complaints[:5]:
            log.warning("HAProxy: %s", complaint)
        core.record_cut(cut, "halted")
        leaving = [key for key in needed if core.intents.state_of(key) is not IntentState.READY]
        await self.forget_callers(leaving)
        core.snapshot = await core.runtime.servers()
        core.snapshot_at = core.clock.steady()
        self._cleared_at = core.clock.steady() - core.config.pace.reclear + 1.0  # once more soon: some were on their way
        left = enforce.corrections(core.snapshot, core.members(), core.intents.state_of)
        names = ", ".join("/".join(key) for key in list(left)[:3])
        text = f"HAProxy does not do what is wanted of {names}: {complaints[0] if complaints else 'it says nothing'}"
        core.board.hold("haproxy-refuses", bool(left), "critical", text)
        self._keep_state(durable=True)
        return True

    async def forget_callers(self, keys: list[Key]) -> None:
        """Clear the stick-table rows of members that must get no new work."""
        core = self._core
        self._cleared_at = core.clock.steady()
        if keys and core.snapshot is not None and self.tables:
            await core.runtime.act(enforce.clearings(core.snapshot, keys, self.tables))

    async def connected(self, keys: set[Key]) -> list[tuple[Key, Session]]:
        """Who is connected to these members now; nobody when HAProxy does not say."""
        try:
            found = [*await sessions(self._core.runtime), *await self._core.old.sessions()]
        except RuntimeFailed:
            return []
        return [(key, s) for s in found for key in keys if s.server == key[1] and is_of(s.backend, key[0])]

    def _keep_state(self, *, durable: bool) -> None:
        core = self._core
        if core.snapshot is not None:
            core.statefile.keep(core.snapshot.text, core.wanted(), durable=durable)
            self._state_at, self._state_due = core.clock.steady(), False

    # --- verdicts

    def verdict(self, key: Key) -> Verdict:
        """What the check and the deep check say together."""
        core = self._core
        assert core.snapshot is not None  # noqa: S101 (callers looked)
        row = main_row(core.snapshot, *key)
        verdict = judge(row)
        deep = core.deep.get(key)
        if deep is None or deep[0] is not Verdict.CANNOT_STORE or verdict is Verdict.UNKNOWN:
            return verdict
        # the agent's `down` and the check's own failure look alike in the state: the check's result tells them apart
        failed = row is not None and row.check_result == 2
        return verdict if failed else Verdict.CANNOT_STORE

    async def _judge(self) -> None:
        core = self._core
        self._deep = dict(core.deep)
        changes = core.verdicts.update({key: self.verdict(key) for key in core.members()}, core.clock.now())
        self._bridge()
        if changes:
            try:
                core.stats = await core.runtime.stats()
                self._statistics_at = core.clock.steady()
            except RuntimeFailed as problem:
                log.warning("no reasons for the changes: %s", problem)
            for change in changes:
                self._tell(change)
        core.judge_alarms()

    def _tell(self, change: Change) -> None:
        service, member = change.key
        reason = self._core.reason_of(change.key)
        log.info("service=%s member=%s verdict=%s before=%s reason=%s", service, member, change.after, change.before, reason)
        self._core.record(
            "verdict", service=service, member=member, before=change.before, after=change.after, reason=reason or None
        )

    def _bridge(self) -> None:
        core = self._core
        for name, service in core.services().items():
            if service.mode.is_l4:
                core.bridge.update(
                    name,
                    service,
                    {m: core.bridge_verdict((name, m)) for m in service.members},
                    {m: core.intents.state_of((name, m)) for m in service.members},
                )

    async def _statistics(self) -> None:
        core = self._core
        now = core.clock.steady()
        if now - self._statistics_at < core.statistics_pace():
            return
        self._statistics_at = now
        core.stats = await core.runtime.stats()
        info = await core.runtime.info()
        if core.haproxy and info.pid != core.haproxy.pid:
            core.record("haproxy", after="reloaded", reason=f"HAProxy {info.version}, process {info.pid}")
            self.tables = await core.runtime.tables()
        core.haproxy = ProcessInfo(info.pid, info.version, info.uptime)

    def serving(self, key: Key) -> bool:
        """Whether a member may get new work now, as far as is known."""
        core = self._core
        if core.intents.state_of(key) is not IntentState.READY:
            return False
        if core.snapshot is None or self._silent:
            return True
        return takes_work(main_row(core.snapshot, *key))
