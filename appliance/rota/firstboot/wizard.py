"""The text wizard on the consoles: asks a few questions, says at once what is wrong with an answer, shows all, applies."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rota.firstboot.settings import Settings, SettingsError, parse

# key of the settings, question, whether the answer may be several with spaces between
QUESTIONS = (
    ("hostname", "Name of this node", False),
    ("interface", "Network card", False),
    ("addresses", "Address with prefix length (such as 192.0.2.11/24)", True),
    ("gateways", "Gateway (empty: none)", True),
    ("resolvers", "Name servers (empty: none)", True),
    ("peer", "Address of the other node (empty: not known yet)", False),
    ("ssh_keys", "Public SSH key of who rolls out (one line)", False),
    ("console_password", "One-time password of the account `console` (empty: none)", False),
)
TOGETHER = {"gateways": ("addresses",), "peer": ("addresses",)}  # judged with what was answered before


class Consoles:
    """All consoles of the machine as one: each line goes to all of them, and whoever answers first is heard."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.descriptors = []
        for path in paths:
            try:
                self.descriptors.append(os.open(path, os.O_RDWR | os.O_NOCTTY))
            except OSError:
                continue  # a serial port that is configured and not there
        self._left: dict[int, bytes] = dict.fromkeys(self.descriptors, b"")

    def say(self, text: str) -> None:
        """Write text to every console; one that is gone is skipped."""
        for descriptor in self.descriptors:
            try:
                os.write(descriptor, text.replace("\n", "\r\n").encode())
            except OSError:
                continue

    def line(self) -> str:
        """The next line from any console, without its end; EOFError when all are gone."""
        while self.descriptors:
            ready, _, _ = select.select(self.descriptors, [], [])
            for descriptor in ready:
                try:
                    data = os.read(descriptor, 4096)
                except OSError:
                    data = b""
                if not data:
                    self.descriptors.remove(descriptor)
                    continue
                self._left[descriptor] += data.replace(b"\r", b"\n")
                text, end, rest = self._left[descriptor].partition(b"\n")
                if end:
                    self._left[descriptor] = rest
                    return text.decode(errors="replace").strip()
        raise EOFError("no console is left")


def active_consoles(sys: Path = Path("/sys/class/tty/console/active"), dev: Path = Path("/dev")) -> list[Path]:
    """The kernel's consoles; tty0 is whichever virtual one is shown, so tty1 stands for it."""
    names = sys.read_text().split() if sys.is_file() else []
    return [dev / ("tty1" if name == "tty0" else name) for name in names]


def answered(key: str, several: bool, text: str, cards: Sequence[str]) -> Any:
    """The value that `text` means for `key`; SettingsError for a card that is not there."""
    if key == "interface" and text not in cards and ":" not in text:
        raise SettingsError(f"there is no network card {text}; there are: {', '.join(cards)}")
    if key == "ssh_keys":
        return [text]
    return text.replace(",", " ").split() if several else text


def ask(
    say: Callable[[str], None],
    line: Callable[[], str],
    cards: Sequence[str],
    reason: str = "",
    defaults: Settings | None = None,
) -> Settings:
    """Ask until everything is answered and accepted; returns what was said yes to.

    `reason` is why there is a wizard at all (a seed was refused, an address is taken). An empty answer takes what stands
    in brackets.
    """
    document: dict[str, Any] = {"hostname": "rota", "interface": cards[0] if cards else ""}
    if defaults is not None:
        document |= {key: value for key, value in defaults.model_dump(mode="json").items() if value}
    say("\n\nRota: first boot. This machine has not been told who it is.\n")
    while True:
        if reason:
            say(f"! {reason}\n")
        for key, question, several in QUESTIONS:
            if key == "interface" and not cards:
                say("! there is no network card: add one, and start the machine again\n")
                document.pop("interface", None)
                continue
            document = _one(say, line, cards, document, key, question, several)
        settings = parse(document, "answers")
        say("\n" + "".join(f"  {text}\n" for text in shown(settings)) + "Take this? [yes/no] ")
        if line().lower() in ("y", "yes"):
            return settings
        reason = ""


def _one(
    say: Callable[[str], None], line: Callable[[], str], cards: Sequence[str], document: dict[str, Any], key: str,
    question: str, several: bool,
) -> dict[str, Any]:  # fmt: skip
    """Ask one question until its answer is accepted; the document with it."""
    while True:
        old = document.get(key)
        bracket = "" if not old or key == "console_password" else " ".join(old) if isinstance(old, list) else str(old)
        say(f"{question}{f' [{bracket}]' if bracket else ''}: ")
        text = line()
        if not text:
            if key != "addresses" or old:
                return document
            say("! without an address nobody reaches this machine\n")
            continue
        try:
            tried = {**document, key: answered(key, several, text, cards)}
            alone = {name: tried[name] for name in (key, *TOGETHER.get(key, ())) if name in tried}
            parse(alone, "answer")
        except SettingsError as error:
            say(f"! {error.reason}\n")
            continue
        return tried


def shown(settings: Settings) -> list[str]:
    """The settings to look at before yes; a password is named, not shown."""
    found = []
    for key, value in settings.model_dump(mode="json").items():
        if value:
            text = "(given)" if key == "console_password" else ", ".join(value) if isinstance(value, list) else str(value)
            found.append(f"{key + ':':18}{text}")
    return found
