"""What people type, checked: what is wrong is said in words beside the field, and what was typed is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rota.commands.times import after, future, past
from rota.control.state import IntentState
from rota.said import Said

HOW = "Write 90m, 2h, 16:30, 2026-11-24 or 2026-11-24T16:30."


@dataclass
class Form:
    """Fields as they were typed, and what is wrong with them."""

    typed: Mapping[str, str]
    wrong: dict[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """A field without the blanks around it."""
        return self.typed.get(name, "").strip()

    def reason(self) -> str:
        """Why something is done: it goes into the journal."""
        text = self.text("reason")
        if len(text) < 3:
            self.wrong["reason"] = "Say why, in a few words: it goes into the journal."
        elif len(text) > 200:
            self.wrong["reason"] = f"That is {len(text)} characters long; the journal takes 200."
        elif not text.isprintable():
            self.wrong["reason"] = "Write it on one line, without control characters."
        return text

    def state(self) -> IntentState | None:
        """Drain, halt or ready."""
        try:
            return IntentState(self.text("state"))
        except ValueError:
            self.wrong["state"] = "Choose what to do."
            return None

    def end(self, now: datetime) -> datetime | None:
        """When it ends by itself; empty is never."""
        text = self.text("until")
        if not text:
            return None
        try:
            end = future(text, now)
        except Said:
            self.wrong["until"] = f"“{text}” is no time that lies ahead. {HOW}"
            return None
        if end <= now:
            self.wrong["until"] = f"“{text}” has passed. {HOW}"
        elif end - now > timedelta(days=366):
            self.wrong["until"] = "That is more than a year ahead: leave it empty if it has no end."
        return end

    def begin(self, now: datetime) -> datetime | None:
        """When it begins by itself; empty is now. Then it has an end, too: ask for that with `end_after`."""
        text = self.text("from")
        if not text:
            return None
        if self.text("state") == IntentState.READY:
            self.wrong["from"] = "Only a drain or a halt can be planned: it brings the server back by itself at its end."
            return None
        try:
            return future(text, now)
        except Said:
            self.wrong["from"] = f"“{text}” is no time that lies ahead. {HOW}"
            return None

    def end_after(self, begin: datetime) -> datetime | None:
        """When a window that begins then ends by itself."""
        text = self.text("until")
        if not text:
            self.wrong["until"] = "What begins by itself ends by itself: say when."
            return None
        try:
            return after(text, begin)
        except Said:
            self.wrong["until"] = f"“{text}” is no time after the begin. {HOW}"
            return None

    def moment(self, name: str, now: datetime) -> datetime | None:
        """A time that lies behind; empty is none."""
        text = self.text(name)
        if not text:
            return None
        try:
            return past(text, now)
        except Said:
            self.wrong[name] = f"“{text}” is no time. {HOW}"
            return None
