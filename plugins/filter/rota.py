"""Thin adapters from Ansible onto the `rota` package: no decision is made here."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError

from rota import haproxy, keepalived, model


def rota_parse(document: dict[str, Any]) -> dict[str, Any]:
    """The normalised model of `{"site": …, "services": …}`; every problem on a line of its own when it is refused."""
    return model.dump(_site(document))


def rota_haproxy(document: dict[str, Any], node: str) -> dict[str, Any]:
    """What HAProxy on `node` needs: sections, maps, files."""
    return haproxy.view(_site(document), node).as_dict()


def rota_keepalived(document: dict[str, Any], node: str) -> dict[str, Any]:
    """What keepalived on `node` needs."""
    return keepalived.view(_site(document), node).as_dict()


def _site(document: dict[str, Any]) -> model.Site:
    result = model.parse(document)
    if result.site is None:
        lines = [str(problem) for problem in result.problems if not problem.warning]
        raise AnsibleFilterError("\n".join(["the site is refused:", *lines]))
    return result.site


class FilterModule:
    """Ansible's way to find filters."""

    def filters(self) -> dict[str, Any]:
        """Name → function."""
        return {"rota_parse": rota_parse, "rota_haproxy": rota_haproxy, "rota_keepalived": rota_keepalived}
