"""Thin adapters from Ansible onto the `rota` package: no decision is made here."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError

if TYPE_CHECKING:
    from rota.model import Site

# `rota` is imported where it is used: Ansible loads this file in the worker of every task that has any filter. The callback
# rota_loaded has imported it before, for all of them; the two lists are compared by a test.


def rota_parse(document: dict[str, Any]) -> dict[str, Any]:
    """The normalised model of `{"site": …, "services": …}`; every problem on a line of its own when it is refused."""
    from rota import model

    return model.dump(_site(document))


def rota_haproxy(document: dict[str, Any], node: str) -> dict[str, Any]:
    """What HAProxy on `node` needs: sections, maps, files."""
    from rota import haproxy

    return haproxy.view(_site(document), node).as_dict()


def rota_keepalived(document: dict[str, Any], node: str) -> dict[str, Any]:
    """What keepalived on `node` needs."""
    from rota import keepalived

    return keepalived.view(_site(document), node).as_dict()


def rota_firewall(document: dict[str, Any], node: str, management_ports: dict[str, str], peer_port: int) -> dict[str, Any]:
    """What the packet filter of `node` needs; `management_ports` are name → `tcp/22`."""
    from rota import firewall

    try:
        return firewall.view(_site(document), node, management_ports, int(peer_port)).as_dict()
    except ValueError as error:
        raise AnsibleFilterError(f"firewall_management_ports: {error}") from None


def rota_ipvs(document: dict[str, Any], node: str) -> dict[str, Any]:
    """What the kernel of `node` needs for layer 4: modules, settings, services that need them."""
    from rota.keepalived import kernel

    return kernel.view(_site(document), node).as_dict()


def rota_member(document: dict[str, Any], own: list[str]) -> dict[str, Any]:
    """The service addresses that the host with these own addresses must hold: direct, tunnel, and whose they are."""
    from rota import member

    return member.plan(_site(document), own).as_dict()


def rota_host(document: dict[str, Any], node: str) -> dict[str, Any]:
    """What the operating system of `node` needs: names, interfaces, reserved ports."""
    from rota import host

    return host.view(_site(document), node).as_dict()


def rota_rotad(document: dict[str, Any], node: str, added: dict[str, Any]) -> str:
    """The text of rotad.toml on `node`; `added` are tables that win over the built-in ones."""
    from rota.control import written
    from rota.control.config import BadConfig

    try:
        return written.text(_site(document), node, json.loads(json.dumps(added)))
    except BadConfig as problem:
        raise AnsibleFilterError(f"rota_control: {problem}") from None


def rota_web(document: dict[str, Any], node: str, added: dict[str, Any]) -> str:
    """The text of web.toml on `node`; `added` are keys and tables that win over the built-in ones."""
    from rota.web import written

    return written.text(_site(document), node, json.loads(json.dumps(added)))


def rota_web_names(document: dict[str, Any], hosts: list[str]) -> dict[str, list[str]]:
    """What the web certificate of each node has to be good for."""
    from rota.web import written

    return written.names(_site(document), list(hosts))


def rota_judge(document: dict[str, Any], inventory: list[str], folder: str) -> dict[str, Any]:
    """Errors, warnings and (without errors) the normalised model of a site that is about to be rolled out."""
    from rota import rollout

    return rollout.judge(json.loads(json.dumps(document)), inventory, Path(folder)).as_dict()


def rota_holders(document: dict[str, Any], seen: dict[str, str]) -> dict[str, Any]:
    """Who holds which address, what is wrong with that, and what follows for the order of a rollout."""
    from rota import rollout

    site = _site(document)
    held = rollout.holders(site, seen)
    return {**held.as_dict(), "order": rollout.order(site, held), "misplaced": rollout.misplaced(site, held)}


def rota_rows(answers: dict[str, str]) -> dict[str, Any]:
    """One table out of what `rota verify --json` said on each node: the worst answer counts."""
    from rota import verify

    rows = verify.worst(answers)
    return {"table": verify.table(rows).splitlines(), "down": [row.service for row in rows if row.verdict == "down"]}


def rota_digest(path: str) -> str:
    """SHA-256 of a file on the controller, in hex: the name under which a node keeps what came out of it."""
    try:
        with open(path, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise AnsibleFilterError(f"{path}: {error.strerror}") from None


def _site(document: dict[str, Any]) -> Site:
    # as text, because a task asks several times for the same document and parsing a large one takes a while
    return _parsed(json.dumps(document))


@lru_cache(maxsize=4)
def _parsed(text: str) -> Site:
    from rota import model

    result = model.parse(json.loads(text))
    if result.site is None:
        lines = [str(problem) for problem in result.problems if not problem.warning]
        raise AnsibleFilterError("\n".join(["the site is refused:", *lines]))
    return result.site


class FilterModule:
    """Ansible's way to find filters."""

    def filters(self) -> dict[str, Any]:
        """Name → function."""
        return {
            "rota_parse": rota_parse,
            "rota_haproxy": rota_haproxy,
            "rota_keepalived": rota_keepalived,
            "rota_firewall": rota_firewall,
            "rota_ipvs": rota_ipvs,
            "rota_member": rota_member,
            "rota_host": rota_host,
            "rota_rotad": rota_rotad,
            "rota_web": rota_web,
            "rota_web_names": rota_web_names,
            "rota_judge": rota_judge,
            "rota_holders": rota_holders,
            "rota_rows": rota_rows,
            "rota_digest": rota_digest,
        }
