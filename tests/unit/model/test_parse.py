"""What the model says of a site: exact lines, all of them in one run."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rota import model
from rota.model.fields import format_duration, parse_duration
from rota.model.schema import Balance, Mode, Profile

SITE: dict[str, Any] = {
    "name": "st-marys",
    "nodes": {"lb1": {"address": "198.51.100.11"}, "lb2": {"address": "198.51.100.12"}},
    "networks": {"clinical": {"prefixes": ["198.51.100.0/24", "2001:db8:51::/64"], "interface": "eth0"}},
    "management": ["192.0.2.0/24", "2001:db8:99::/64"],
}
PACS: dict[str, Any] = {
    "profile": "dicom",
    "address": "198.51.100.100",
    "members": {
        "pacs-a": {"address": "198.51.100.21", "port": 104, "called_ae": "PACS_A"},
        "pacs-b": {"address": "198.51.100.22", "port": 104, "called_ae": "PACS_B"},
    },
}
WEB: dict[str, Any] = {
    "profile": "rest",
    "address": "198.51.100.101",
    "members": {"web-a": {"address": "198.51.100.31", "port": 8080}},
}
FEED: dict[str, Any] = {
    "profile": "hl7",
    "address": "198.51.100.102",
    "members": {
        "engine-a": {"address": "198.51.100.41", "port": 2575},
        "engine-b": {"address": "198.51.100.42", "port": 2575},
    },
}


def changed(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy of `base` with values set by dotted path; None removes the key."""
    result = copy.deepcopy(base)
    for path, value in changes.items():
        *above, last = path.replace("__", ".").replace("_.", ".").split(".")
        place = result
        for part in above:
            place = place.setdefault(part.replace("~", "-"), {})
        if value is None:
            place.pop(last.replace("~", "-"), None)
        else:
            place[last.replace("~", "-")] = value
    return result


def lines(services: dict[str, Any], site: dict[str, Any] | None = None) -> list[str]:
    return [str(p) for p in model.parse({"site": site or SITE, "services": services}).problems]


def good(services: dict[str, Any], site: dict[str, Any] | None = None) -> model.Site:
    result = model.parse({"site": site or SITE, "services": services})
    assert result.site is not None, result.problems
    return result.site


def test_a_port_out_of_range_is_named_as_the_issue_names_it() -> None:
    assert lines({"pacs": changed(PACS, **{"members.pacs-b.port": 70000})}) == [
        "services.pacs.members.pacs-b.port: 70000 is not a port (1–65535)"
    ]


def test_all_problems_come_in_one_run_in_the_order_of_the_file() -> None:
    broken = {
        "web": changed(WEB, address="192.0.2.1"),
        "pacs": changed(PACS, **{"members.pacs-a.called_ae": "A_TITLE_OF_17_CHAR", "members.pacs-a.wieght": 3}),
        "feed": changed(FEED, check={"path": "/x"}, timeout={}),
    }
    assert lines(broken, changed(SITE, **{"vrrp.start_delay": 3})) == [
        "site.vrrp.start_delay: 3 is not a duration: a whole number with a unit (ms, s, m, h, d), such as 15s",
        "services.web.addresses[0]: 192.0.2.1 is outside every node network (198.51.100.0/24, 2001:db8:51::/64)",
        "services.pacs.members.pacs-a.called_ae: A_TITLE_OF_17_CHAR is 18 characters long: an AE title has at most 16",
        "services.pacs.members.pacs-a.wieght: unknown key (did you mean weight?)",
        "services.feed.timeout: unknown key (did you mean timeouts?)",
        "services.feed.check.path: has no meaning for a tcp check",
    ]


# Each row: the services (one or two of them), and the one line that must come of it.
ONE_LINE = {
    "unknown profile": (
        {"pacs": changed(PACS, profile="dicm")},
        "services.pacs.profile: dicm is not one of dicom, dicom-tls, hl7, hl7-tls, xds-registry, xds-repository, "
        "xds-imaging, dicomweb, viewer, rest, database, tcp, udp, syslog, dns (did you mean dicom?)",
    ),
    "unknown key": (
        {"pacs": changed(PACS, fallbak={})},
        "services.pacs.fallbak: unknown key (did you mean fallback?)",
    ),
    "unknown key below": (
        {"pacs": changed(PACS, **{"check.intervall": "5s"})},
        "services.pacs.check.intervall: unknown key (did you mean interval?)",
    ),
    "name of a service": (
        {"Pacs One": PACS},
        "services.Pacs One: 'Pacs One' is not a name (lower-case letters, digits and -, at most 32)",
    ),
    "same address and port": (
        {"web": WEB, "other": changed(WEB, **{"members": {"x": {"address": "198.51.100.77"}}})},
        "services.other.ports: 198.51.100.101 port 80 is already taken by service web",
    ),
    "plain and TLS on one port": (
        {
            "pacs": PACS,
            "secure": changed(
                PACS, profile="dicom-tls", port=104, **{"members.pacs-a.port": 2762, "members.pacs-b.port": 2762}
            ),
        },
        "services.secure.ports: 198.51.100.100 port 104 is already taken by service pacs: "
        "plain and TLS DICOM cannot share a port",
    ),
    "member speaks plain and TLS": (
        {"pacs": PACS, "secure": changed(PACS, profile="dicom-tls", **{"members.pacs-b.port": 2762})},
        "services.secure.members.pacs-a.port: 104 is used without TLS by service pacs: "
        "a port speaks plain or TLS DICOM, not both",
    ),
    "member is a service address": (
        {"pacs": PACS, "web": changed(WEB, **{"members.web-a.address": "198.51.100.100"})},
        "services.web.members.web-a.address: 198.51.100.100 is the address of service pacs: a member must be a real server",
    ),
    "address of a node": (
        {"web": changed(WEB, address="198.51.100.11")},
        "services.web.addresses[0]: 198.51.100.11 is the own address of node lb1: a service needs one that can move",
    ),
    "DR translates ports": (
        {"pacs": changed(PACS, mode="l4-dr", **{"members.pacs-b.port": 11112})},
        "services.pacs.members.pacs-b.port: 11112 differs from the service's port 104: l4-dr cannot translate ports",
    ),
    "DR member behind a router": (
        {"pacs": changed(PACS, mode="l4-dr", **{"members.pacs-b.address": "203.0.113.9"})},
        "services.pacs.members.pacs-b.address: 203.0.113.9 is in no node network: direct routing needs members on the same layer 2",
    ),
    "IPVS crosses families": (
        {"web": changed(WEB, mode="l4-nat", **{"members.web-a.address": "2001:db8:51::8"})},
        "services.web.members.web-a.address: 2001:db8:51::8 is IPv6, but no address of the service is: IPVS does not translate",
    ),
    "scheduler of the other layer": (
        {"web": changed(WEB, balance="wlc")},
        "services.web.balance: wlc does not exist at layer 7 (mode l7)",
    ),
    "a time-out cuts a study": (
        {"pacs": changed(PACS, **{"timeouts.server": "50s"})},
        "services.pacs.timeouts.server: 50s would cut a study: PACS stay silent up to 300 s while they store or retrieve "
        "(at least 5m)",
    ),
    "route to nowhere": (
        {"pacs": changed(PACS, routes={"ARCHIVE": ["pacs-c"]})},
        "services.pacs.routes.ARCHIVE[0]: leads nowhere: pacs-c is not a member of this service (did you mean pacs-b?)",
    ),
    "empty route": (
        {"pacs": changed(PACS, routes={"ARCHIVE": []})},
        "services.pacs.routes.ARCHIVE: leads nowhere: name at least one member",
    ),
    "AE rules behind pass-through": (
        {"pacs": changed(PACS, profile="dicom-tls", **{"allow.calling_ae": ["CT_1"]})},
        "services.pacs.allow.calling_ae: needs associations that the node can read (DICOM, layer 7, TLS not passed through)",
    ),
    "check calls no AE": (
        {"pacs": changed(PACS, **{"members.pacs-a.called_ae": None})},
        "services.pacs.members.pacs-a.called_ae: is missing: a DICOM check must call the member's AE title",
    ),
    "cookie without HTTP": (
        {"pacs": changed(PACS, persistence="cookie")},
        "services.pacs.persistence.kind: cookie needs HTTP that the node can read (a web profile, TLS not passed through)",
    ),
    "offload without certificate": (
        {"web": changed(WEB, tls="offload")},
        "services.web.tls.certificate: is missing: offload needs the certificate that clients will see",
    ),
    "plain profile with TLS": (
        {"pacs": changed(PACS, tls={"mode": "offload", "certificate": "pacs.pem"})},
        "services.pacs.tls.mode: offload needs profile dicom-tls",
    ),
    "duration without a unit": (
        {"pacs": changed(PACS, **{"check.interval": 15})},
        "services.pacs.check.interval: 15 is not a duration: a whole number with a unit (ms, s, m, h, d), such as 15s",
    ),
    "only backups": (
        {"web": changed(WEB, **{"members.web-a.backup": True})},
        "services.web.members: all are backup: at least one must serve from the start",
    ),
    "no address": ({"web": changed(WEB, address=None)}, "services.web.addresses: is missing"),
    "no members": ({"web": changed(WEB, members=None)}, "services.web.members: is missing"),
    "a name instead of an address": (
        {"web": changed(WEB, address="pacs.example.org")},
        "services.web.addresses[0]: pacs.example.org is not an IP address (names are not accepted: a node must not need DNS)",
    ),
    "network with host bits": (
        {"web": changed(WEB, **{"allow.sources": ["198.51.100.7/24"]})},
        "services.web.allow.sources[0]: 198.51.100.7/24 is an address inside a network: the network is 198.51.100.0/24",
    ),
    "a tcp service has no port of its own": (
        {"web": changed(WEB, profile="tcp")},
        "services.web.ports: is empty: at least one is needed",
    ),
}


@pytest.mark.parametrize(("services", "line"), ONE_LINE.values(), ids=ONE_LINE.keys())
def test_exactly_one_line(services: dict[str, Any], line: str) -> None:
    assert lines(services) == [line]


SITE_LINES = {
    "duplicate VRRP ids": (
        {"vrrp.groups": {"one": {"id": 51, "nodes": ["lb1"]}, "two": {"id": 51, "nodes": ["lb2"]}}},
        {"group": "one"},
        "site.vrrp.groups.two.id: 51 is already the VRRP id of group one",
    ),
    "service without a group": (
        {"vrrp.groups": {"one": {"id": 51, "nodes": ["lb1"]}, "two": {"id": 52, "nodes": ["lb2"]}}},
        {},
        "services.web.group: is missing: the site has several VRRP groups (one, two)",
    ),
    "unknown group": ({}, {"group": "mian"}, "services.web.group: unknown VRRP group mian (did you mean main?)"),
    "node outside the networks": (
        {"nodes.lb2.address": "203.0.113.12"},
        {},
        "site.nodes.lb2.addresses[0]: 203.0.113.12 is outside every network of the site",
    ),
    "two nodes, one address": (
        {"nodes.lb2.address": "198.51.100.11"},
        {},
        "site.nodes.lb2.addresses[0]: 198.51.100.11 is already node lb1",
    ),
    "group of strangers": (
        {"vrrp.groups": {"main": {"id": 51, "nodes": ["lb1", "lb3"]}}},
        {},
        "site.vrrp.groups.main.nodes[1]: lb3 is not a node of the site (did you mean lb2?)",
    ),
    "peers of both families": (
        {"nodes.lb2.address": "2001:db8:51::12"},
        {},
        "site.vrrp.groups.main.nodes: have first addresses of both families: VRRP peers must share one",
    ),
    "id too large": (
        {"vrrp.groups": {"main": {"id": 256, "nodes": ["lb1"]}}},
        {},
        "site.vrrp.groups.main.id: 256 is above 255, the most allowed",
    ),
    "adverts too fast": (
        {"vrrp.advert_interval": "20ms"},
        {},
        "site.vrrp.advert_interval: 20ms is not between 50ms and 10s",
    ),
    "unknown key": ({"vrp": {}}, {}, "site.vrp: unknown key (did you mean vrrp?)"),
}


@pytest.mark.parametrize(("site", "service", "line"), SITE_LINES.values(), ids=SITE_LINES.keys())
def test_exactly_one_line_about_the_site(site: dict[str, Any], service: dict[str, Any], line: str) -> None:
    assert lines({"web": changed(WEB, **service)}, changed(SITE, **site)) == [line]


def test_an_address_has_one_group() -> None:
    groups = {"one": {"id": 51, "nodes": ["lb1"]}, "two": {"id": 52, "nodes": ["lb2"]}}
    services = {"web": changed(WEB, group="one"), "more": changed(WEB, group="two", port=81)}
    assert lines(services, changed(SITE, **{"vrrp.groups": groups})) == [
        "services.more.addresses[0]: 198.51.100.101 is in VRRP group one already (service web): an address has one group"
    ]


def test_a_spread_feed_is_a_warning_and_passes() -> None:
    spread = changed(FEED, **{"members.engine-a.backup": False, "members.engine-b.backup": False})
    result = model.parse({"site": SITE, "services": {"feed": spread}})
    assert [str(p) for p in result.problems] == [
        "services.feed.members: warning: an HL7 feed is spread over several active members (engine-a, engine-b): "
        "messages may arrive out of order"
    ]
    assert result.ok
    assert result.site is not None
    assert not result.site.services["feed"].single_active


def test_a_feed_has_one_active_member_and_the_others_stand_by() -> None:
    feed = good({"feed": FEED}).services["feed"]
    assert feed.single_active
    assert [m.backup for m in feed.members.values()] == [False, True]


def test_the_active_member_of_a_feed_can_be_chosen() -> None:
    feed = good({"feed": changed(FEED, **{"members.engine-b.backup": False})}).services["feed"]
    assert [m.backup for m in feed.members.values()] == [True, False]


def test_short_forms_mean_the_long_ones() -> None:
    short = good({"web": changed(WEB, persistence="source", check="tcp")})
    long = good(
        {
            "web": changed(
                WEB, address=None, addresses=["198.51.100.101"], persistence={"kind": "source"}, check={"kind": "tcp"}
            )
        }
    )
    assert short == long


def test_another_kind_of_check_forgets_what_the_profile_said_of_its_own() -> None:
    registry = changed(WEB, profile="xds-registry", check={"kind": "tcp"})
    assert good({"registry": registry}).services["registry"].check.path is None


def test_an_address_may_be_of_either_family() -> None:
    service = good({"pacs": changed(PACS, address=None, addresses=["198.51.100.100", "2001:db8:51:0::100"])}).services[
        "pacs"
    ]
    assert service.addresses == ["198.51.100.100", "2001:db8:51::100"]


@pytest.mark.parametrize(
    "document", [None, [], "text", 7, {}, {"site": 3, "services": 4}, {"site": {}, "services": {"a": 1}}]
)
def test_nonsense_is_refused_and_never_raises(document: Any) -> None:
    result = model.parse(document)
    assert result.problems
    assert not result.ok


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(key=st.sampled_from([*model.Service.model_fields, "address", "port"]), value=JUNK)
def test_junk_anywhere_gives_problems_and_never_raises(key: str, value: Any) -> None:
    model.parse({"site": SITE, "services": {"pacs": {**PACS, key: value}}})


@settings(max_examples=60, deadline=None)
@given(key=st.sampled_from([*type(good({})).model_fields["site"].annotation.model_fields]), value=JUNK)  # type: ignore[union-attr]
def test_junk_in_the_site_never_raises(key: str, value: Any) -> None:
    model.parse({"site": {**SITE, key: value}, "services": {"pacs": PACS}})


@settings(max_examples=200, deadline=None)
@given(
    profile=st.sampled_from(Profile),
    mode=st.sampled_from(Mode),
    balance=st.sampled_from([None, *Balance]),
    tls=st.sampled_from([None, "none", "offload", "pass-through", "re-encrypt"]),
    persistence=st.sampled_from([None, "none", "source", "calling-ae", "cookie"]),
    check=st.sampled_from([None, "dicom", "hl7", "soap", "http", "tls", "tcp"]),
    backup=st.sampled_from([None, True, False]),
)
def test_what_the_model_writes_it_reads_again(
    profile: Any, mode: Any, balance: Any, tls: Any, persistence: Any, check: Any, backup: Any
) -> None:
    service = changed(
        PACS, profile=profile.value, port=104, mode=mode.value, balance=balance, check=check, persistence=persistence
    )
    service = changed(service, **{"members.pacs-b.backup": backup})
    if tls:
        service["tls"] = {"mode": tls}
        if tls in ("offload", "re-encrypt"):
            service["tls"] |= {"certificate": "pacs.pem"}
        if tls == "re-encrypt":
            service["tls"] |= {"member_ca": "ca.pem"}
    site = model.parse({"site": SITE, "services": {"pacs": service}}).site
    if site is not None:
        again = model.parse(json.loads(json.dumps(model.dump(site))))
        assert again.site == site


@given(st.integers(min_value=1, max_value=24 * 86_400_000))
def test_durations_are_written_as_they_are_read(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds)) == milliseconds


def test_each_node_gets_the_services_of_its_groups() -> None:
    groups = {"one": {"id": 51, "nodes": ["lb1"]}, "two": {"id": 52, "nodes": ["lb2", "lb1"]}}
    site = good(
        {"web": changed(WEB, group="one"), "pacs": changed(PACS, group="two")}, changed(SITE, **{"vrrp.groups": groups})
    )
    assert list(site.services_of("lb1")) == ["web", "pacs"]
    assert list(site.services_of("lb2")) == ["pacs"]
    assert site.peers_of("lb1") == ["lb2"]
