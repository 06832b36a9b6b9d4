"""The text of /etc/rota/rotad.toml as role `rota` writes it: what the model says, and the tables that a site adds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from rota.control.notice import settings
from rota.model import Site

PEER_PORT = 8407  # tcp, rotad to rotad
WEB_PORT = 8443  # tcp, people to rota-web, on the nodes' own addresses
FOLDER = "/etc/rota/control"
STATE = "/var/lib/rota/control"
DEFAULTS: dict[str, Any] = {
    "site": "/etc/rota/site.json",
    "state_directory": STATE,
    "run_directory": "/run/rota",
    "haproxy_socket": "/run/haproxy/admin.sock",
    "haproxy_state": "/run/haproxy/server-state",
    "peer": {
        "port": PEER_PORT,
        "ca": f"{FOLDER}/ca.crt",
        "certificate": f"{FOLDER}/node.crt",
        "key": f"{FOLDER}/node.key",
    },
    "journal": {"days": 400, "mebibytes": 512},
    "metrics": {"listen": "127.0.0.1", "port": 8410},
}
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def text(site: Site, node: str, added: Mapping[str, Any]) -> str:
    """The configuration of rotad on `node`; `added` wins, table by table.

    KeyError when the site has no such node, BadConfig for a mistake in what a site adds to table [alarms].
    """
    settings.read(json.loads(json.dumps(dict(added))))
    listen = {"listen": site.site.nodes[node].addresses[0]}
    tables = {"node": node, **DEFAULTS, "peer": {**listen, **DEFAULTS["peer"]}}
    for key, value in added.items():
        both = isinstance(value, Mapping) and isinstance(tables.get(key), Mapping)
        tables[key] = {**tables[key], **value} if both else value
    return toml(tables)


def toml(table: Mapping[str, Any]) -> str:
    """`table` as TOML 1.0; values that are none are left out. ValueError for what TOML does not know."""
    return "\n".join(_lines(table, ())).lstrip("\n") + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines = [f"{_key(k)} = {_value(v)}" for k, v in table.items() if v is not None and not isinstance(v, Mapping)]
    if path and (lines or not table):
        lines.insert(0, f"\n[{'.'.join(map(_key, path))}]")
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += _lines(value, (*path, key))
    return lines


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        # JSON's escapes are TOML's; DEL alone is another matter (TOML 1.0, String)
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    raise ValueError(f"{value!r} has no form in TOML")
