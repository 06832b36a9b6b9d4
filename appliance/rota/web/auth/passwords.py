"""Passwords: kept as argon2id, long rather than complicated (NCSC, NIST SP 800-63B, OWASP ASVS 2.1)."""

from __future__ import annotations

import re
import secrets
import threading
from functools import cache
from importlib import resources

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

SHORTEST = 12
LONGEST = 128
ONE_TIME_HOURS = 72  # how long a one-time password waits to be used
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)  # OWASP's least: it shares two cores
_TURNS = threading.Semaphore(4)  # a flood of sign-ins takes 76 MiB, and no more
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that looks like another


def hashed(password: str) -> str:
    """What is kept of a password."""
    with _TURNS:
        return _HASHER.hash(password)


def matches(kept: str | None, password: str) -> bool:
    """Whether `password` is the one behind `kept`. None takes as long as a real one: names cannot be told by the clock."""
    with _TURNS:
        try:
            return _HASHER.verify(kept or _nobody(), password) and kept is not None
        except (VerificationError, InvalidHashError):
            return False


def outdated(kept: str) -> bool:
    """Whether `kept` was made with less work than is usual now."""
    return _HASHER.check_needs_rehash(kept)


def one_time() -> str:
    """A password for one use: 99 bits, easy to read out."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(5)) for _ in range(4))


def weakness(password: str, name: str) -> str | None:
    """What is wrong with a new password of the person `name`, in words; None when nothing is.

    No rules about kinds of characters, and no changing by the calendar: both make people choose worse ones.
    """
    if len(password) < SHORTEST:
        return f"Use at least {SHORTEST} characters. Three random words are easy to remember."
    if len(password) > LONGEST:
        return f"Use at most {LONGEST} characters."
    plain = password.lower()
    if any(word in plain for word in _words_of(name)):
        return "Leave your own name out of it."
    core = re.sub(r"^[\W\d_]+|[\W\d_]+$", "", plain)
    if len(set(plain)) < 5 or not core or _ascending(plain) or {plain, core, _unit(plain), _unit(core)} & _common():
        return "This one is among the first that an attacker tries. Three random words are better."
    return None


@cache
def _nobody() -> str:
    return _HASHER.hash(secrets.token_hex(16))


@cache
def _common() -> frozenset[str]:
    text = resources.files("rota.web.auth").joinpath("common.txt").read_text(encoding="ascii")
    return frozenset(line for line in text.splitlines() if not line.startswith("#")) | {
        "password",
        "welcome",
        "hospital",
        "rota",
    }


def _words_of(name: str) -> list[str]:
    return [word for word in [name.lower(), *re.split(r"[._@+-]", name.lower())] if len(word) >= 4]


def _unit(text: str) -> str:
    """The part that `text` repeats: `abcabc` → `abc`; `text` itself when it repeats nothing."""
    return text[: (text + text).find(text, 1)] if text else text


def _ascending(text: str) -> bool:
    return all(ord(b) - ord(a) in (0, 1) for a, b in zip(text, text[1:], strict=False))
