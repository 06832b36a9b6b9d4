"""HAProxy's configuration as the role writes it: its own template, defaults and files, put into the measured root."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rota import haproxy
from rota.model import Site

from bench.lib.root import TOP

ROLE = TOP / "roles/haproxy"
SOCKET = Path("run/haproxy/admin.sock")  # below the root
NODE = "lb1"


def install(root: Path, site: Site) -> list[str]:
    """Write everything that HAProxy on lb1 of `site` needs below `root`; returns the command that starts it there."""
    view = haproxy.view(site, NODE).as_dict()
    variables: dict[str, object] = {"ansible_managed": "Ansible managed"}
    for part in ("defaults", "vars"):
        variables |= yaml.safe_load((ROLE / part / "main.yml").read_text())
    # the role's own names; the template is Ansible's, with its setting of trim_blocks
    jinja = Environment(  # noqa: S701 (no HTML)
        loader=FileSystemLoader(ROLE / "templates"), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    text = jinja.get_template("haproxy.cfg.j2").render(variables, __haproxy_view=view, rota_node=NODE)
    etc = root / "etc/haproxy"
    for folder in (etc / "maps", etc / "lua", etc / "pages", root / "run/haproxy", root / "var/lib/rota"):
        folder.mkdir(parents=True, exist_ok=True)
    (root / SOCKET).unlink(missing_ok=True)  # of an earlier run: its file must not be taken for this one's
    maps = view["maps"]
    assert isinstance(maps, dict)
    for name, lines in maps.items():
        (etc / name).write_text(lines)
    shutil.copy(ROLE / "files/rota.lua", etc / "lua")
    shutil.copy(ROLE / "files/rota.html", etc / "pages")
    (etc / "haproxy.cfg").write_text(text)
    return ["haproxy", "-db", "-f", "/etc/haproxy/haproxy.cfg"]
