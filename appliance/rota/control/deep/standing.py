"""From single answers to what stands against a member: hysteresis, expiry, and the brake."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from rota.checks.verdict import Reason, Verdict
from rota.control.deep.question import Key, Question
from rota.model.deep import DeepCheck, Effect

Member = tuple[str, str]  # service, member
_GRACE = 5.0  # seconds on top of what the pace allows


@dataclass
class Standing:
    """What one check says of one member. `good` is None while nothing is known."""

    check: DeepCheck
    good: bool | None = None
    verdict: Verdict | None = None  # the last one
    taken_at: float = float("-inf")
    _row: int = 0  # answers in a row that contradict `good`

    def take(self, verdict: Verdict, now: float) -> bool:
        """Take an answer; tells whether what stands has changed. The first answer decides alone."""
        before = self.good
        self.verdict, self.taken_at = verdict, now
        if verdict.reason is Reason.USAGE:
            # our own fault says nothing of the member
            self.good, self._row = None, 0
        elif self.good is None:
            self.good, self._row = verdict.up, 0
        elif verdict.up == self.good:
            self._row = 0
        else:
            self._row += 1
            if self._row >= (self.check.rise if verdict.up else self.check.fall):
                self.good, self._row = verdict.up, 0
        return self.good is not before

    def pace(self) -> float:
        """Seconds until the next question."""
        calm = self.good is not False and self._row == 0
        return (self.check.interval if calm else self.check.retry) / 1000

    def expired(self, now: float) -> bool:
        """Whether the last answer is too old to count: two questions in a row were not even asked."""
        return now - self.taken_at > 2 * (self.pace() + self.check.timeout / 1000) + _GRACE

    def words(self) -> str:
        """`store: cannot-store: status A700`."""
        if self.verdict is None:
            return f"{self.check.name}: not asked yet"
        return f"{self.check.name}: {self.verdict.reason}: {self.verdict.detail}"


@dataclass
class Standings:
    """All of them. `steady` is a clock that only grows; `alive` tells whether a member's own check lets it serve."""

    steady: Callable[[], float]
    alive: Callable[[Member], bool] = lambda member: True
    _all: dict[Key, Standing] = field(default_factory=dict)
    _members: dict[str, dict[str, list[Standing]]] = field(default_factory=dict)  # service → member

    def keep(self, questions: Iterable[Question]) -> None:
        """Take another set of questions; what is known of the same question stays."""
        old = self._all
        self._all, self._members = {}, {}
        for question in questions:
            known = old.get(question.key)
            same = known is not None and known.check == question.check
            standing = known if same and known else Standing(question.check)
            self._all[question.key] = standing
            self._members.setdefault(question.service_name, {}).setdefault(question.member_name, []).append(standing)

    def of(self, key: Key) -> Standing:
        """The standing of one question; KeyError when it is asked no more."""
        return self._all[key]

    def member(self, member: Member) -> list[Standing]:
        """The standings of a member whose answers still count, in model order."""
        now = self.steady()
        return [s for s in self._members.get(member[0], {}).get(member[1], []) if not s.expired(now)]

    def failing(self, member: Member, effect: Effect = Effect.OUT) -> list[Standing]:
        """What stands against a member."""
        return [s for s in self.member(member) if s.good is False and s.check.effect is effect]

    def braked(self, service: str) -> bool:
        """Whether everybody who could serve fails: then it is likelier the check, or what all of them share.

        A password that has run out must not close a hospital's archive. Nobody is taken out then, and an alarm says so.
        """
        serving = [(service, name) for name in self._members.get(service, {}) if self.alive((service, name))]
        return bool(serving) and all(self.failing(member) for member in serving)

    def objection(self, member: Member) -> str | None:
        """What HAProxy's agent-check is told: the reason against new work, or None."""
        found = self.failing(member)
        return None if not found or self.braked(member[0]) else found[0].words()
