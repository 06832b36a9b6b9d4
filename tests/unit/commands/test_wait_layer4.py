"""A layer 4 member is not idle because HAProxy sees nothing: the kernel carries its connections."""

from __future__ import annotations

from rota.commands.wait import look
from rota.control.state import Intent, IntentState, IpvsCounts
from unit.api.double import NOON, Double, member, service

DRAIN = Intent(
    service="pacs", member="pacs-a", state=IntentState.DRAIN, reason="patch", person="kim", at=NOON, counter=1, node="lb1"
)


def test_connections_in_the_kernel_are_waited_for() -> None:
    leaving = member("pacs-a", intent=DRAIN, associations=2, ipvs=IpvsCounts(weight=0, active=2, inactive=0))
    status = Double().status().model_copy(update={"services": [service("pacs", [leaving], mode="l4-dr")]})
    assert look(status, [], [DRAIN]).count == 2
    assert not look(status, [], [DRAIN]).idle


def test_nothing_is_safe_while_the_kernel_does_not_say() -> None:
    services = [service("pacs", [member("pacs-a", intent=DRAIN)], mode="l4-dr"), service("web", [member("web-a")])]
    status = Double().status().model_copy(update={"services": services, "ipvs_problem": "no ip_vs"})
    assert look(status, [], [DRAIN]).blind == ["no ip_vs: what passes at layer 4 is unknown"]
    other = DRAIN.model_copy(update={"service": "web", "member": "web-a"})
    assert look(status, [], [other]).blind == []
