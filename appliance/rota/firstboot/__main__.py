"""`python -m rota.firstboot [wizard]`: what the image's units run. Without a word: look for settings and apply them.

Exit 0 also when there are none, or none that can be used: the wizard asks then. The reason stands in the journal, on the
consoles and in /run/rota-firstboot.reason.
"""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import IPv4Interface
from pathlib import Path

from rota.firstboot import apply, network, sources, wizard
from rota.firstboot.settings import Settings, SettingsError

REASON = Path("/run/rota-firstboot.reason")
ROOT = Path("/")


class NotAppliedError(Exception):
    """Why settings that are sound cannot be used on this machine: one line."""


def find() -> Settings | None:
    """The first source that has settings: a credential, a seed disk, VMware."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return sources.from_credentials(Path(folder) if folder else None) or sources.from_disks() or sources.from_vmware()


def take(settings: Settings) -> None:
    """Apply the settings, or raise NotAppliedError and leave everything as it was."""
    card = network.chosen(settings.interface)
    if settings.addresses:
        if card is None:
            there = ", ".join(network.cards()) or "none"
            raise NotAppliedError(
                f"there is no network card {settings.interface or ''}; there are: {there}".replace("  ", " ")
            )
        network.up(card)
        for one in settings.addresses:
            if isinstance(one, IPv4Interface) and (other := network.holder(card, one.ip)):
                raise NotAppliedError(
                    f"the address {one.ip} is in use by {other} on {card}, it was not taken: give this machine another one, "
                    "or switch the other one off"
                )
    hosts = ROOT / "etc/hosts"
    made = apply.files(settings, settings.interface or card or "", hosts.read_text() if hosts.exists() else "")
    apply.write(ROOT, made)
    for command, text in apply.commands(settings):
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
        if done.returncode:
            raise NotAppliedError(f"{command[0]}: {done.stderr.strip() or done.stdout.strip() or f'exit {done.returncode}'}")
    apply.write(ROOT, {apply.DONE: ("", 0o644)})


def look() -> None:
    """The unit before the network: settings from outside."""
    try:
        settings = find()
        if settings is None:
            print("no settings from outside (credential, seed disk, guestinfo): the wizard asks on the console")
            return
        take(settings)
    except (SettingsError, NotAppliedError) as error:
        REASON.write_text(f"{error}\n")
        print(f"<3>{error}")  # sd-daemon(3): an error of the journal
        wizard.Consoles(wizard.active_consoles()).say(f"\nRota: {error}\n")
        return
    REASON.unlink(missing_ok=True)
    print(f"this is {settings.hostname}, {', '.join(map(str, settings.addresses)) or 'no address'}")


def ask() -> None:
    """The unit on the consoles: only while nobody has told the machine who it is."""
    consoles = wizard.Consoles(wizard.active_consoles())
    reason = REASON.read_text().strip() if REASON.exists() else ""
    settings = None
    while True:
        settings = wizard.ask(consoles.say, consoles.line, network.cards(), reason, settings)
        try:
            take(settings)
            break
        except NotAppliedError as error:
            reason = str(error)
            print(f"<3>{error}")
    REASON.unlink(missing_ok=True)
    quiet = {"check": False, "capture_output": True, "timeout": 60}
    subprocess.run(["networkctl", "reload"], **quiet)  # type: ignore[call-overload]  # noqa: S603, S607
    subprocess.run(["hostname", settings.hostname], **quiet)  # type: ignore[call-overload]  # noqa: S603, S607
    consoles.say(f"Done. This is {settings.hostname}; the rollout reaches it as root@{settings.addresses[0].ip}.\n")


def main() -> None:
    """Run one of both."""
    os.umask(0o022)
    ask() if sys.argv[1:] == ["wizard"] else look()


if __name__ == "__main__":
    main()
