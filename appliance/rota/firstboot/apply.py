"""Bring settings into a machine: files first, each in one step, then what runs takes them in."""

from __future__ import annotations

import json
import os
from pathlib import Path

from rota.firstboot.settings import Settings

NETWORK = "etc/systemd/network/10-rota.network"
KNOWN = "etc/rota/node.json"
DONE = "var/lib/rota/firstboot.done"
CONSOLE_ACCOUNT = "console"


def network_file(settings: Settings, interface: str) -> str:
    """systemd.network(5) of the machine's own leg."""
    match = f"MACAddress={interface}" if ":" in interface else f"Name={interface}"
    lines = ["# Written at the first boot (rota firstboot); yours from now on.", "[Match]", match, "", "[Network]"]
    lines += [f"Address={one}" for one in settings.addresses]
    lines += [f"Gateway={one}" for one in settings.gateways]
    lines += ["IPv6AcceptRA=no"] if any(one.version == 6 for one in settings.addresses) else []
    return "\n".join([*lines, ""])


def hosts_file(old: str, settings: Settings) -> str:
    """The text of /etc/hosts with this machine's name, and `rota-peer` for the other one; the rest stays."""
    names = (settings.hostname, "rota-peer", "localhost")
    kept = [line for line in old.splitlines() if not set(line.partition("#")[0].split()[1:]) & set(names)]
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost"]
    lines += [f"{one.ip} {settings.hostname}" for one in settings.addresses] or [f"127.0.1.1 {settings.hostname}"]
    lines += [f"{settings.peer} rota-peer"] if settings.peer else []
    return "\n".join([*lines, *kept, ""])


def files(settings: Settings, interface: str, hosts: str = "") -> dict[str, tuple[str, int]]:
    """Every file that the settings mean: place below / → text and permissions."""
    made = {"etc/hostname": (settings.hostname + "\n", 0o644), "etc/hosts": (hosts_file(hosts, settings), 0o644)}
    if settings.addresses:
        made[NETWORK] = (network_file(settings, interface), 0o644)
    if settings.resolvers:
        made["etc/resolv.conf"] = ("".join(f"nameserver {one}\n" for one in settings.resolvers), 0o644)
    if settings.ssh_keys:
        made["root/.ssh/authorized_keys"] = ("".join(f"{key}\n" for key in settings.ssh_keys), 0o600)
    if settings.mirror:
        suites = f"Types: deb\nURIs: {settings.mirror}/debian\nSuites: trixie trixie-updates\n"
        safe = f"Types: deb\nURIs: {settings.mirror}/debian-security\nSuites: trixie-security\n"
        rest = "Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        made["etc/apt/sources.list.d/debian.sources"] = (f"{suites}{rest}\n{safe}{rest}", 0o644)
    # what the wizard, support and the controller may want to know; no password, no key
    known = settings.model_dump(mode="json", include={"hostname", "interface", "addresses", "gateways", "peer"})
    made[KNOWN] = (json.dumps(known, indent=2) + "\n", 0o644)
    return made


def write(root: Path, made: dict[str, tuple[str, int]]) -> None:
    """Write each file beside its place, then rename it."""
    for name, (text, mode) in made.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if path.parent.name == ".ssh" else 0o755)
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(text)
        beside.chmod(mode)
        os.replace(beside, path)


def commands(settings: Settings) -> list[tuple[list[str], str]]:
    """What has to run after the files are there: argv and what it reads from standard input."""
    found: list[tuple[list[str], str]] = []
    if settings.console_password:
        hashed = ["-e"] if settings.console_password.startswith("$") else []
        # not root's: an expired password would shut root's SSH key out as well (sshd asks PAM for the account)
        found += [
            (["sh", "-c", f"getent passwd {CONSOLE_ACCOUNT} || useradd -m -s /bin/bash -G sudo {CONSOLE_ACCOUNT}"], ""),
            (["chpasswd", *hashed], f"{CONSOLE_ACCOUNT}:{settings.console_password}\n"),
            (["chage", "-d", "0", CONSOLE_ACCOUNT], ""),
        ]
    return [*found, (["hostname", settings.hostname], "")]
