"""What a person is to the app."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum

# What rotad takes as a name, and short enough that "via rota-web" can stand beside it in the journal.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,47}")


class Role(IntEnum):
    """What a person may do; each includes the one before."""

    VIEWER = 1  # look
    OPERATOR = 2  # drain, halt, bring back, fail over
    ADMINISTRATOR = 3  # people and their rights

    @property
    def word(self) -> str:
        """As people write it."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Role:
        """The role that `word` names. ValueError if there is none."""
        try:
            return cls[word.upper()]
        except KeyError:
            known = ", ".join(role.word for role in cls)
            raise ValueError(f"{word!r} is no role: {known}") from None


class Source(StrEnum):
    """Who vouches for a person."""

    LOCAL = "local"
    LDAP = "ldap"
    OIDC = "oidc"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may sign in. `must_change`: with a one-time password, and nothing else until it is changed."""

    name: str
    role: Role
    source: Source = Source.LOCAL
    must_change: bool = False
    disabled: bool = False
