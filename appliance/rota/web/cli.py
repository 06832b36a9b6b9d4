"""The `rota-web` command: the server, and the people that may sign in to it."""

from __future__ import annotations

import getpass
import logging
import os
import pwd
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from rota.settings import BadConfig
from rota.web import config as configuration
from rota.web.config import WebConfig

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, help="The web app of a Rota node.")
user = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, help="Who may sign in, on this node.")
app.add_typer(user, name="user")
Config = Annotated[Path, typer.Option("--config", help="Where its settings are.")]
RoleWord = Annotated[str, typer.Option("--role", help="viewer, operator or administrator.")]
DEFAULT = configuration.DEFAULT


@app.command()
def serve(config: Config = DEFAULT) -> None:
    """Answer people, until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    found = _config(config)
    from rota.web.server import Server

    Server(found).run()


@app.command()
def check(config: Config = DEFAULT) -> None:
    """Say what is wrong with the settings, and end."""
    _config(config)


@user.command()
def add(name: str, role: RoleWord, config: Config = DEFAULT) -> None:
    """Add a person and print their one-time password, which they must change when they first sign in."""
    with _people(config) as found:
        _add(found, name, role)


@user.command()
def first(name: str, config: Config = DEFAULT) -> None:
    """The same for the first administrator; prints nothing when there is anybody already."""
    with _people(config) as found:
        from rota.web.context import context

        if not context().store.people():
            _add(found, name, "administrator")


@user.command("list")
def list_(config: Config = DEFAULT) -> None:
    """Who may sign in."""
    with _people(config):
        from rota.web.context import context

        for one in context().store.people():
            state = "closed" if one.disabled else "one-time password" if one.must_change else "open"
            print(f"{one.name}\t{one.role.word}\t{one.source}\t{state}")


@user.command()
def reset(name: str, config: Config = DEFAULT) -> None:
    """Print a new one-time password for a person; the one before no longer holds, and their sessions end."""
    with _people(config) as by:
        from rota.web import audit
        from rota.web.auth import lockout, signin
        from rota.web.auth.people import Source
        from rota.web.context import context

        person = context().store.person(name)
        if person is None or person.source is not Source.LOCAL:
            raise BadConfig(f"there is no local person named {name}")
        print(signin.one_time_password(context(), person.name))
        lockout.clear(context().store, person.name)
        audit.note("password", "done", person=by, text=f"one-time password for {person.name}")


@user.command()
def remove(name: str, config: Config = DEFAULT) -> None:
    """Remove a person, with their sessions and tokens."""
    with _people(config) as by:
        from rota.web import audit
        from rota.web.context import context

        person = context().store.person(name)
        if person is None:
            raise BadConfig(f"there is nobody named {name}")
        try:
            context().store.remove(person.name)
        except ValueError as problem:
            raise BadConfig(str(problem)) from None
        audit.note("person-removed", "done", person=by, text=person.name)


def _add(by: str, name: str, word: str) -> None:
    from rota.web import audit
    from rota.web.auth import signin
    from rota.web.auth.people import NAME, Person, Role
    from rota.web.context import context

    if not NAME.fullmatch(name):
        raise BadConfig("a name has up to 48 letters, digits, dots, dashes, @ or +")
    try:
        context().store.add(Person(name, Role.of(word), must_change=True))
    except ValueError as problem:
        raise BadConfig(str(problem)) from None
    print(signin.one_time_password(context(), name))
    audit.note("person-added", "done", person=by, text=f"{name} as {word}")


@contextmanager
def _people(path: Path) -> Iterator[str]:
    """The app around a command, as the account that owns its files; gives the name of who asks."""
    found = _config(path)
    by = os.environ.get("SUDO_USER") or getpass.getuser()
    _become_owner(found.state_directory)
    from rota.web.app import create_app

    with create_app(found).app_context():
        try:
            yield by
        except BadConfig as problem:
            raise _end(str(problem)) from None


def _become_owner(folder: Path) -> None:
    """Root must not leave files that the app cannot write."""
    if os.getuid() != 0:
        return
    try:
        owner = pwd.getpwuid(folder.stat().st_uid)
    except FileNotFoundError:
        raise _end(f"{folder} is not there: start rota-web once") from None
    os.initgroups(owner.pw_name, owner.pw_gid)
    os.setgid(owner.pw_gid)
    os.setuid(owner.pw_uid)


def _config(path: Path) -> WebConfig:
    try:
        return configuration.load(path)
    except BadConfig as problem:
        raise _end(str(problem)) from None


def _end(line: str) -> typer.Exit:
    print(f"rota-web: {line}", file=sys.stderr)
    return typer.Exit(1)


def main() -> None:
    """Entry point of `rota-web`."""
    app()


if __name__ == "__main__":
    main()
