"""What rotad must be told before it starts: /etc/rota/rotad.toml, written by role rota, read once."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT = Path("/etc/rota/rotad.toml")


class BadConfig(Exception):
    """The configuration cannot be used; the text is one line for people."""


@dataclass(frozen=True)
class PeerConfig:
    """How the nodes of a site speak to each other."""

    listen: str
    port: int
    ca: Path
    certificate: Path
    key: Path
    addresses: dict[str, tuple[str, int]] = field(default_factory=dict)  # where the model's address is not the way
    heartbeat_port: int = 8406  # HAProxy's peers section: the second path


@dataclass(frozen=True)
class Pace:
    """How often rotad looks, in seconds."""

    follow: float = 0.2  # HAProxy: a verdict is in its track file within 0.3 s
    statistics: float = 5.0  # associations, reasons
    exchange: float = 1.0  # peers
    reclear: float = 5.0  # stick-table rows of drained members


@dataclass(frozen=True)
class Config:
    """Everything that rotad needs; a missing key stops its start."""

    node: str
    site: Path
    state_directory: Path
    run_directory: Path
    haproxy_socket: Path
    haproxy_state: Path
    peer: PeerConfig
    journal_days: int
    journal_mebibytes: int
    keepalived_pid: Path = Path("/run/keepalived.pid")
    pace: Pace = Pace()
    raw: dict[str, Any] = field(default_factory=dict)  # tables of other parts, e.g. [alarms]

    @property
    def track_directory(self) -> Path:
        """Where keepalived's track files are."""
        return self.run_directory / "track"


def load(path: Path) -> Config:
    """Read the file at `path`; raises BadConfig with one line that names the file and the key."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"{path}: is not valid TOML: {error}") from None
    try:
        return _config(raw)
    except BadConfig as problem:
        raise BadConfig(f"{path}: {problem}") from None


def _config(raw: dict[str, Any]) -> Config:
    peer, journal = _table(raw, "peer"), _table(raw, "journal")
    return Config(
        node=_text(raw, "node"),
        site=Path(_text(raw, "site")),
        state_directory=Path(_text(raw, "state_directory")),
        run_directory=Path(_text(raw, "run_directory")),
        haproxy_socket=Path(_text(raw, "haproxy_socket")),
        haproxy_state=Path(_text(raw, "haproxy_state")),
        peer=PeerConfig(
            listen=_text(peer, "listen", "peer."),
            port=_number(peer, "port", "peer.", lowest=1, highest=65535),
            ca=Path(_text(peer, "ca", "peer.")),
            certificate=Path(_text(peer, "certificate", "peer.")),
            key=Path(_text(peer, "key", "peer.")),
            addresses={name: _address(name, value) for name, value in _optional(peer, "addresses").items()},
            heartbeat_port=int(peer.get("heartbeat_port", 8406)),
        ),
        journal_days=_number(journal, "days", "journal.", lowest=1),
        journal_mebibytes=_number(journal, "mebibytes", "journal.", lowest=1),
        keepalived_pid=Path(str(raw.get("keepalived_pid", "/run/keepalived.pid"))),
        pace=_pace(_optional(raw, "pace")),
        raw=raw,
    )


def _table(raw: dict[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(raw.get(key), dict):
        raise BadConfig(f"the table [{key}] is missing")
    return dict(raw[key])


def _optional(raw: dict[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key, {})
    if not isinstance(value, dict):
        raise BadConfig(f"{key} is not a table")
    return value


def _text(raw: dict[str, Any], key: str, where: str = "") -> str:
    value = raw.get(key)
    if not isinstance(value, str) or not value:
        raise BadConfig(f"{where}{key} is {'missing' if key not in raw else 'not a text'}")
    return value


def _number(raw: dict[str, Any], key: str, where: str, *, lowest: int, highest: int | None = None) -> int:
    value = raw.get(key)
    if key not in raw:
        raise BadConfig(f"{where}{key} is missing")
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest or (highest and value > highest):
        raise BadConfig(f"{where}{key}: {value!r} is not a number from {lowest}{f' to {highest}' if highest else ''}")
    return value


def _address(name: str, value: Any) -> tuple[str, int]:
    host, _, port = str(value).rpartition(":")
    if not host or not port.isdigit():
        raise BadConfig(f"peer.addresses.{name}: {value!r} is not ADDRESS:PORT")
    return host.strip("[]"), int(port)


def _pace(raw: dict[str, Any]) -> Pace:
    known = Pace.__dataclass_fields__
    for key, value in raw.items():
        if key not in known:
            raise BadConfig(f"pace.{key} is unknown")
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 60:
            raise BadConfig(f"pace.{key}: {value!r} is not a number of seconds up to 60")
    return Pace(**{key: float(value) for key, value in raw.items()})
