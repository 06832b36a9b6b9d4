"""Judges a name and a password: local people first, then the site's directory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from rota.web import audit
from rota.web.auth import lockout, passwords
from rota.web.auth.people import NAME, Person, Source
from rota.web.context import Context, context

WRONG = "The name or the password is wrong."


class NotAdmitted(Exception):
    """Nobody is signed in; the text is for the person."""


@dataclass(frozen=True, slots=True)
class _Kept:
    person: Person
    password: str | None
    valid_until: int | None


def admit(name: str, password: str) -> Person:
    """Who that is; raises NotAdmitted. Every answer leaves an audit line, and takes as long whether the name is known."""
    here = context()
    kept = _kept(here, name) if NAME.fullmatch(name) else None
    known = kept.person.name if kept else audit.NOBODY
    if seconds := lockout.wait(here.store, name[:64]):
        audit.note("sign-in", "refused", person=known, text=f"locked out for {seconds} s more")
        minutes = max(1, round(seconds / 60))
        raise NotAdmitted(f"Too many failed attempts. Try again in {minutes} minute{'s' if minutes > 1 else ''}.")
    before = lockout.begin(here.store, name[:64])
    found, why = _judge(here, kept, name, password)
    if found is None:
        locked = f"; locked out after {before + 1} failures" if before + 1 >= lockout.FREE else ""
        audit.note("sign-in", "failed", person=known, text=why + locked)
        raise NotAdmitted(WRONG)
    lockout.clear(here.store, name[:64])
    audit.note("sign-in", "done", person=found.name, text=f"{found.source}, as {found.role.word}")
    return found


def _judge(here: Context, kept: _Kept | None, name: str, password: str) -> tuple[Person | None, str]:
    local = kept is not None and kept.person.source is Source.LOCAL
    if here.config.ldap and not local and NAME.fullmatch(name):
        from rota.web.auth import directory  # ldap3: only where it is used

        try:
            found = directory.look_up(here.config.ldap, name, password)
        except directory.DirectoryFailed as problem:
            return None, f"the directory: {problem}"
        if found is None:
            return None, "the directory does not know them so"
        return _external(here, found, found.name)  # the directory's filter makes the name unique there
    right = passwords.matches(kept.password if kept else None, password[: passwords.LONGEST + 1])
    if kept is None:
        return None, "there is no such person"
    if not right:
        return None, "wrong password"
    if kept.person.disabled:
        return None, "their account is closed"
    if kept.valid_until is not None and kept.valid_until < here.store.now():
        return None, "their one-time password has expired"
    if kept.password and passwords.outdated(kept.password):
        here.store.set_password(kept.person.name, passwords.hashed(password), must_change=kept.person.must_change)
    return kept.person, ""


def _external(here: Context, person: Person, subject: str) -> tuple[Person | None, str]:
    """A person that somebody else vouches for, as the store keeps them from now on."""
    try:
        kept = here.store.keep_external(person, subject)
    except ValueError as problem:
        return None, str(problem)
    if kept.disabled:
        return None, "their account is closed"
    return kept, ""


def admit_external(person: Person, subject: str) -> Person:
    """The same for a person whom a single sign-on vouches for; raises NotAdmitted."""
    found, why = _external(context(), person, subject)
    if found is None:
        audit.note("sign-in", "refused", person=person.name, text=why)
        raise NotAdmitted("Your account may not sign in here. Ask an administrator of Rota.")
    audit.note("sign-in", "done", person=found.name, text=f"{found.source}, as {found.role.word}")
    return found


def _kept(here: Context, name: str) -> _Kept | None:
    person = here.store.person(name)
    return _Kept(person, *here.store.password(person.name)) if person else None


def one_time_password(here: Context, name: str) -> str:
    """Give a local person a password for one use; who has it must choose another at once."""
    password = passwords.one_time()
    until = here.store.now() + int(timedelta(hours=passwords.ONE_TIME_HOURS).total_seconds())
    here.store.set_password(name, passwords.hashed(password), must_change=True, valid_until=until)
    here.store.end_all(name)
    return password
