"""What rotad must be told before it starts: /etc/rota/rotad.toml, written by role rota, read once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rota import settings
from rota.settings import BadConfig

__all__ = ["DEFAULT", "BadConfig", "Config", "Pace", "PeerConfig", "load"]
DEFAULT = Path("/etc/rota/rotad.toml")


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
    haproxy_master: Path = Path("/run/haproxy-master.sock")  # old processes are asked through it
    pace: Pace = Pace()
    raw: dict[str, Any] = field(default_factory=dict)  # tables of other parts, e.g. [alarms]

    @property
    def track_directory(self) -> Path:
        """Where keepalived's track files are."""
        return self.run_directory / "track"


def load(path: Path) -> Config:
    """Read the file at `path`; raises BadConfig with one line that names the file and the key."""
    raw = settings.read(path)
    try:
        return _config(raw)
    except BadConfig as problem:
        raise BadConfig(f"{path}: {problem}") from None


def _config(raw: dict[str, Any]) -> Config:
    peer, journal = settings.table(raw, "peer"), settings.table(raw, "journal")
    return Config(
        node=settings.text(raw, "node"),
        site=Path(settings.text(raw, "site")),
        state_directory=Path(settings.text(raw, "state_directory")),
        run_directory=Path(settings.text(raw, "run_directory")),
        haproxy_socket=Path(settings.text(raw, "haproxy_socket")),
        haproxy_state=Path(settings.text(raw, "haproxy_state")),
        peer=PeerConfig(
            listen=settings.text(peer, "listen", "peer."),
            port=settings.number(peer, "port", "peer.", lowest=1, highest=65535),
            ca=Path(settings.text(peer, "ca", "peer.")),
            certificate=Path(settings.text(peer, "certificate", "peer.")),
            key=Path(settings.text(peer, "key", "peer.")),
            addresses={name: _address(name, value) for name, value in settings.optional(peer, "addresses").items()},
            heartbeat_port=int(peer.get("heartbeat_port", 8406)),
        ),
        journal_days=settings.number(journal, "days", "journal.", lowest=1),
        journal_mebibytes=settings.number(journal, "mebibytes", "journal.", lowest=1),
        keepalived_pid=Path(str(raw.get("keepalived_pid", "/run/keepalived.pid"))),
        haproxy_master=Path(str(raw.get("haproxy_master", "/run/haproxy-master.sock"))),
        pace=_pace(settings.optional(raw, "pace")),
        raw=raw,
    )


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
