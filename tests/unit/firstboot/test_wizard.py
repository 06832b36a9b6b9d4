"""The wizard: what it asks, what it refuses at once, what it takes."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from pathlib import Path

import pytest
from rota.firstboot import wizard
from rota.firstboot.settings import Settings, parse

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFake admin@example"
GOOD = ["lb1", "", "192.0.2.11/24", "192.0.2.1", "192.0.2.53", "192.0.2.12", KEY, "once-only"]


def asked(answers: list[str], cards: tuple[str, ...] = ("ens3", "ens4"), **more: object) -> tuple[Settings, str]:
    said: list[str] = []
    lines = iter(answers)

    def line() -> str:
        try:
            return next(lines)
        except StopIteration:
            raise AssertionError(f"it asks again: {''.join(said)}") from None

    settings = wizard.ask(said.append, line, cards, **more)  # type: ignore[arg-type]
    return settings, "".join(said)


def test_it_takes_what_is_answered() -> None:
    settings, said = asked([*GOOD, "yes"])
    assert settings == parse(
        {"hostname": "lb1", "interface": "ens3", "address": "192.0.2.11/24", "gateway": "192.0.2.1", "resolvers": "192.0.2.53",
         "peer": "192.0.2.12", "ssh_key": KEY, "console_password": "once-only"}, "test",
    )  # fmt: skip
    assert "once-only" not in said


@pytest.mark.parametrize(
    ("number", "wrong", "reason"),
    [
        (0, "lb_1", "'lb_1' is no host name"),
        (1, "eth9", "there is no network card eth9; there are: ens3, ens4"),
        (2, "192.0.2.11", "192.0.2.11 has no prefix length: write it as 192.0.2.11/24"),
        (2, "", "without an address nobody reaches this machine"),
        (3, "198.51.100.1", "the gateway 198.51.100.1 is in none of the networks of 192.0.2.11/24"),
        (5, "192.0.2.11", "the peer 192.0.2.11 is this machine's own address"),
        (6, "nonsense", "'nonsense' is no public SSH key"),
        (7, "short", "a console password has 8 characters or more"),
    ],
)
def test_it_says_at_once_what_is_wrong_and_asks_again(number: int, wrong: str, reason: str) -> None:
    settings, said = asked([*GOOD[:number], wrong, *GOOD[number:], "yes"])
    assert f"! {reason}" in said
    assert settings.hostname == "lb1"


def test_no_means_everything_again_with_the_answers_as_defaults() -> None:
    settings, said = asked([*GOOD, "no", "", "", "192.0.2.21/24", "", "", "", "", "", "y"])
    assert "[192.0.2.11/24]" in said
    assert str(settings.addresses[0]) == "192.0.2.21/24"
    assert settings.console_password == "once-only"  # noqa: S105 (a word of this test)


def test_why_it_asks_is_said_first() -> None:
    _, said = asked([*GOOD, "yes"], reason="the address 192.0.2.11 is in use by 52:54:00:00:00:09")
    assert said.index("! the address 192.0.2.11 is in use") < said.index("Name of this node")


@pytest.fixture
def terminals() -> Iterator[list[tuple[int, Path]]]:
    made = [pty.openpty() for _ in range(2)]
    yield [(ours, Path(os.ttyname(theirs))) for ours, theirs in made]
    for ours, theirs in made:
        os.close(ours)
        os.close(theirs)


def test_all_consoles_show_it_and_whoever_answers_is_heard(terminals: list[tuple[int, Path]]) -> None:
    consoles = wizard.Consoles([*(path for _, path in terminals), Path("/nonexistent/tty")])
    consoles.say("who?\n")
    assert [os.read(ours, 100) for ours, _ in terminals] == [b"who?\r\r\n"] * 2
    os.write(terminals[1][0], b"lb1\n")
    assert consoles.line() == "lb1"
    os.write(terminals[0][0], b"first\nsecond\n")
    assert [consoles.line(), consoles.line()] == ["first", "second"]


def test_the_kernels_consoles(tmp_path: Path) -> None:
    (tmp_path / "active").write_text("tty0 ttyS0\n")
    assert wizard.active_consoles(tmp_path / "active", Path("/dev")) == [Path("/dev/tty1"), Path("/dev/ttyS0")]
