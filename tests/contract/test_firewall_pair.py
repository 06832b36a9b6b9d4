"""Two real keepalived behind their packet filters: they hear each other, and the filter is what lets them."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract.test_firewall import render
from contract.test_keepalived_pair import FAST, FIRST, PACS, SIX, Node, pair, settle, stays
from lib.poll import wait_until

pytestmark = [pytest.mark.contract, pytest.mark.clock]
__all__ = ["pair"]


def load(node: Node, root: Path, *, without: str | None = None) -> None:
    """Put the rules of `node` in force; `without`: leave lines with that text out."""
    text = render(PACS, {**FAST, "management": ["192.0.2.0/24"]}, node.name)
    if without is not None:
        assert without in text
        text = "".join(line for line in text.splitlines(keepends=True) if without not in line)
    node.run("chroot", str(root), "nft", "-f", "-", text=text)


def test_one_holder_behind_the_rules_through_a_failover(pair: tuple[Node, Node], daemon_root: Path) -> None:
    active, standby = pair
    for node in pair:
        load(node, daemon_root)
    stays(pair, active, FIRST, seconds=2)
    active.write("run/rota/track/haproxy", "-1\n")
    settle(pair, standby, FIRST, SIX)
    active.write("run/rota/track/haproxy", "0\n")
    stays(pair, standby, FIRST, seconds=1)


def test_the_twin_without_the_rule_for_vrrp_the_standby_takes_over(
    pair: tuple[Node, Node], daemon_root: Path, tmp_path: Path
) -> None:
    """Nobody died. It lasts until the standby's own first advert opens the way for answers, but it is two holders."""
    _, standby = pair

    def takeovers() -> int:
        return (tmp_path / f"{standby.name}.log").read_text().count("Entering MASTER STATE")

    before = takeovers()
    for node in pair:
        load(node, daemon_root, without="meta l4proto 112")
    wait_until(lambda: takeovers() > before, within=5)
