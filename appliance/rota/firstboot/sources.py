"""Where settings come from, each with its own way to write them: systemd credentials, NoCloud seeds, VMware's guestinfo."""

from __future__ import annotations

import base64
import gzip
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from rota.firstboot.settings import Settings, SettingsError, parse

Run = Callable[[Sequence[str]], str | None]  # what a program printed; None when it failed or is not there
CREDENTIAL = "rota.settings"
SEED_LABELS = ("cidata", "CIDATA", "rota-seed", "ROTA-SEED")


def run(command: Sequence[str]) -> str | None:
    """Run a program of this machine for at most 20 seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def mapping(text: str, source: str) -> dict[str, Any]:
    """YAML (so JSON too) whose top is keys with values; nothing is an empty one."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        raise SettingsError(f"{source}: this is no YAML{f', see line {line + 1}' if line is not None else ''}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise SettingsError(f"{source}: settings are keys with values")
    return found


def from_credentials(folder: Path | None) -> Settings | None:
    """The credential `rota.settings`, as systemd.exec(5) hands it over: SMBIOS, qemu's fw_cfg, a file of the host."""
    path = folder / CREDENTIAL if folder else None
    if path is None or not path.is_file():
        return None
    source = f"credential {CREDENTIAL}"
    return parse(mapping(path.read_text(), source), source)


def from_seed(read: Callable[[str], str | None], source: str) -> Settings | None:
    """A NoCloud seed: `read` returns one of its files, or None. The subset is what docs/guide/image.md names."""
    user, meta, network = read("user-data"), read("meta-data"), read("network-config")
    if user is None and meta is None:
        return None
    return parse(merged(mapping(user or "", f"{source} user-data"), mapping(meta or "", f"{source} meta-data"),
                        mapping(network or "", f"{source} network-config"), source), source)  # fmt: skip


def merged(user: dict[str, Any], meta: dict[str, Any], network: dict[str, Any], source: str) -> dict[str, Any]:
    """Cloud-init's words in ours; what stands under `rota:` wins."""
    found: dict[str, Any] = {}
    if name := user.get("hostname") or user.get("fqdn") or meta.get("local-hostname"):
        found["hostname"] = name
    keys = list(user.get("ssh_authorized_keys") or [])
    for account in user.get("users") or []:
        keys += account.get("ssh_authorized_keys") or [] if isinstance(account, dict) else []
    if keys:
        found["ssh_keys"] = keys
    if user.get("password"):
        found["console_password"] = str(user["password"])
    found |= of_network(network.get("network", network), source)
    own = user.get("rota") or {}
    if not isinstance(own, dict):
        raise SettingsError(f"{source} user-data: rota: settings are keys with values")
    return found | own


def of_network(config: dict[str, Any], source: str) -> dict[str, Any]:
    """The first card of a network-config of version 2, or the first physical one of version 1."""
    if not config:
        return {}
    if config.get("version") == 2:
        ethernets: dict[str, dict[str, Any]] = config.get("ethernets") or {}
        name, card = next(iter(ethernets.items()), ("", {}))
        match = card.get("match") or {}
        addresses, routes = card.get("addresses") or [], card.get("routes") or []
        gateways = [card[key] for key in ("gateway4", "gateway6") if card.get(key)]
        gateways += [one["via"] for one in routes if one.get("to") in ("default", "0.0.0.0/0", "::/0") and "via" in one]
        resolvers = (card.get("nameservers") or {}).get("addresses") or []
        interface = match.get("macaddress") or match.get("name") or ("" if match else name)
    elif config.get("version") == 1:
        cards = [one for one in config.get("config") or [] if one.get("type") == "physical"]
        card = dict(cards[0]) if cards else {}
        subnets = [one for one in card.get("subnets") or [] if str(one.get("type", "")).startswith("static")]
        addresses = [one["address"] for one in subnets if "address" in one]
        gateways = [one["gateway"] for one in subnets if "gateway" in one]
        resolvers = [text for one in subnets for text in one.get("dns_nameservers") or []]
        interface = card.get("mac_address") or card.get("name") or ""
    else:
        raise SettingsError(f"{source} network-config: version: 1 and 2 are known")
    found = {"interface": interface, "addresses": addresses, "gateways": gateways, "resolvers": resolvers}
    return {key: value for key, value in found.items() if value}


def from_disks(run: Run = run) -> Settings | None:
    """A NoCloud seed on a disk with the label cidata (ISO 9660 or FAT); read, never written to."""
    for label in SEED_LABELS:
        device = (run(["blkid", "-L", label]) or "").strip()
        if not device:
            continue
        with tempfile.TemporaryDirectory(prefix="rota-seed-") as folder:
            if run(["mount", "-o", "ro", device, folder]) is None:
                raise SettingsError(f"the seed {device} (label {label}) cannot be read: it is damaged or has no file system")
            try:
                return from_seed(lambda name, place=Path(folder): text_of(place / name), f"seed {device}")  # type: ignore[misc]
            finally:
                run(["umount", folder])
    return None


def text_of(path: Path) -> str | None:
    """The text of a file, None when there is none."""
    return path.read_text() if path.is_file() else None


def from_vmware(run: Run = run) -> Settings | None:
    """VMware's guestinfo.userdata and guestinfo.metadata, plain, base64 or gzip+base64."""
    if (run(["systemd-detect-virt", "--vm"]) or "").strip() != "vmware":
        return None

    def value(name: str) -> str | None:
        text = run(["vmware-rpctool", f"info-get guestinfo.{name}"])
        if not text or not text.strip():
            return None
        how = (run(["vmware-rpctool", f"info-get guestinfo.{name}.encoding"]) or "").strip()
        return decoded(text, how, f"guestinfo.{name}")

    meta = value("metadata")
    network = mapping(meta or "", "guestinfo.metadata").get("network")
    files = {"user-data": value("userdata"), "meta-data": meta,
             "network-config": yaml.safe_dump(network) if isinstance(network, dict) else network}  # fmt: skip
    return from_seed(files.get, "guestinfo")


def decoded(text: str, encoding: str, source: str) -> str:
    """Undo what `guestinfo.*.encoding` names."""
    try:
        if encoding in ("gzip+base64", "gz+b64"):
            return gzip.decompress(base64.b64decode(text)).decode()
        if encoding in ("base64", "b64"):
            return base64.b64decode(text).decode()
    except (ValueError, OSError, EOFError):
        raise SettingsError(f"{source}: it is not {encoding}") from None
    return text
