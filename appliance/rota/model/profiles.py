"""What each profile means: the defaults that a service of that kind starts from, as an operator would write them."""

from __future__ import annotations

from typing import Any

Defaults = dict[str, Any]

# An association may be silent for long: a C-MOVE waits for a tape or an archive, a modality pauses between images.
# dcm4chee-arc gives store and retrieve 300 s; an hour cuts nobody and still frees what a dead peer left.
_ASSOCIATION = {"client": "1h", "server": "1h", "queue": "20s", "request": "30s"}
# Feeds often keep one connection for ever, and nights are quiet.
_FEED = {"client": "1d", "server": "1d"}
# A registry query is short; a retrieve of a whole study over HTTP is not.
_QUERY = {"client": "2m", "server": "2m"}
_RETRIEVE = {"client": "10m", "server": "10m"}

_PROFILES: dict[str, Defaults] = {
    "dicom": {"ports": [104], "check": {"kind": "dicom"}, "timeouts": _ASSOCIATION},
    "dicom-tls": {
        "ports": [2762],
        "check": {"kind": "dicom"},
        "timeouts": _ASSOCIATION,
        # IHE ATNA ITI-19 authenticates the two secure nodes to each other: ending TLS here would break it
        "tls": {"mode": "pass-through"},
    },
    # A probe message needs the interface team's agreement, so the default only asks for TCP.
    "hl7": {"ports": [2575], "check": {"kind": "tcp"}, "timeouts": _FEED, "single_active": True},
    "hl7-tls": {
        "ports": [2575],
        "check": {"kind": "tls"},
        "timeouts": _FEED,
        "single_active": True,
        "tls": {"mode": "pass-through"},
    },
    "xds-registry": {"ports": [80], "check": {"kind": "soap", "path": "/registry"}, "timeouts": _QUERY},
    "xds-repository": {
        "ports": [80],
        "check": {"kind": "soap", "path": "/repository"},
        "timeouts": _RETRIEVE,
    },
    "xds-imaging": {"ports": [80], "check": {"kind": "soap", "path": "/imaging"}, "timeouts": _RETRIEVE},
    "dicomweb": {"ports": [80], "check": {"kind": "http"}, "timeouts": _RETRIEVE},
    "viewer": {
        "ports": [443],
        "check": {"kind": "http"},
        "timeouts": _RETRIEVE,
        "tls": {"mode": "pass-through"},
        "persistence": {"kind": "source"},
    },
    "rest": {"ports": [80], "check": {"kind": "http"}, "timeouts": _QUERY},
    # Two writers are worse than none: one member at a time, and no way back by itself.
    "database": {"ports": [5432], "check": {"kind": "tcp"}, "timeouts": _FEED, "single_active": True},
    "tcp": {"ports": [], "check": {"kind": "tcp"}, "timeouts": {"client": "1h", "server": "1h"}},
    # HAProxy carries no datagrams, so these begin at layer 4; direct routing keeps the sender's address, which logs need.
    "udp": {"ports": [], "protocol": "udp", "mode": "l4-dr", "check": {"kind": "tcp"}},
    "syslog": {"ports": [514], "protocol": "udp", "mode": "l4-dr", "check": {"kind": "tcp"}},
    "dns": {"ports": [53], "protocol": "both", "mode": "l4-dr", "check": {"kind": "tcp"}},
}

# What a check of each kind needs, and the keys that have no meaning for the others.
CHECK_DEFAULTS: dict[str, Defaults] = {
    "dicom": {},
    "hl7": {
        "sending_application": "ROTA",
        "sending_facility": "ROTA",
        "receiving_application": "PROBE",
        "receiving_facility": "PROBE",
        "message_type": "NMD:N02",
    },
    "soap": {"path": "/", "status": "200"},
    "http": {"method": "GET", "path": "/", "status": "200-399"},
    "tls": {},
    "tcp": {},
}
CHECK_KEYS: dict[str, set[str]] = {
    "dicom": {"calling_ae", "called_ae"},
    "hl7": set(CHECK_DEFAULTS["hl7"]),
    "soap": {"path", "host", "status", "expect", "soap_action"},
    "http": {"path", "host", "status", "expect", "method"},
    "tls": set(),
    "tcp": set(),
}


def merged(base: Defaults, over: Defaults) -> Defaults:
    """`over` laid on `base`, mappings key by key; lists and scalars replace."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def with_defaults(raw: Defaults) -> Defaults:
    """`raw`, a service as written with its short forms spelled out, on top of what its profile says."""
    profile = _PROFILES.get(str(raw.get("profile")), {})
    check = raw.get("check")
    kind = check.get("kind") if isinstance(check, dict) else None
    if kind is not None and kind != profile.get("check", {}).get("kind"):
        # another kind of check: the profile's path and the like do not belong to it
        profile = {**profile, "check": {}}
    service = merged(profile, raw)
    check = service.get("check")
    if isinstance(check, dict):
        service["check"] = merged(CHECK_DEFAULTS.get(str(check.get("kind")), {}), check)
    if str(service.get("mode", "")).startswith("l4") and "balance" not in raw:
        service["balance"] = "wlc"
    return service
