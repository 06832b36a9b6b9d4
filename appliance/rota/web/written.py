"""The text of /etc/rota/web.toml as role `rota_web` writes it: what the model says, and the tables that a site adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rota.control.written import WEB_PORT, toml
from rota.model import Site

FOLDER = "/etc/rota/web"
STATE = "/var/lib/rota/web"
DEFAULTS: dict[str, Any] = {
    "site": "/etc/rota/site.json",
    "rotad_socket": "/run/rota/rotad.sock",
    "state_directory": STATE,
    "certificate": f"{FOLDER}/web.crt",
    "key": f"{FOLDER}/web.key",
    "port": WEB_PORT,
    "wallboard": False,
    "session": {"idle_minutes": 30, "absolute_hours": 12},
    "live": {"streams": 16},
}


def text(site: Site, node: str, added: Mapping[str, Any]) -> str:
    """The configuration of rota-web on `node`; `added` wins, table by table. KeyError when the site has no such node.

    `added["hosts"]` are further names under which people reach it; the node's own name and addresses always are.
    """
    addresses = list(site.site.nodes[node].addresses)
    settings = {"node": node, "listen": addresses, **DEFAULTS}
    for key, value in added.items():
        both = isinstance(value, Mapping) and isinstance(settings.get(key), Mapping)
        settings[key] = {**settings[key], **value} if both else value
    settings["hosts"] = list(dict.fromkeys([node, *addresses, *added.get("hosts", [])]))
    return toml(settings)


def names(site: Site, hosts: list[str]) -> dict[str, list[str]]:
    """What the certificate of each node has to be good for: `lb1-web` → its name, its addresses and `hosts`."""
    return {f"{name}-web": [name, *node.addresses, *hosts] for name, node in site.site.nodes.items()}
