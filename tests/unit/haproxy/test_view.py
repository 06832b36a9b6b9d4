"""The view of a node's HAProxy: what the text of a section says, where no daemon need be asked."""

from __future__ import annotations

import time
from typing import Any

import pytest
from rota.checks.verdict import Reason
from rota.haproxy import HaproxyView, view
from rota.haproxy.reasons import reason_of
from rota.haproxy.section import endpoint, literal, quote, span
from rota.model import parse

MEMBERS = {
    "pacs-a": {"address": "198.51.100.21", "port": 4242, "called_ae": "PACS_A"},
    "pacs-b": {"address": "198.51.100.22", "port": 4242, "called_ae": "PACS_B"},
}
PACS = {"profile": "dicom", "address": "198.51.100.100", "members": MEMBERS}


def shown(services: dict[str, Any], node: str = "lb1", **settings: Any) -> HaproxyView:
    site = {
        "name": "test",
        "nodes": {"lb1": {"address": "198.51.100.11"}, "lb2": {"address": "198.51.100.12"}},
        "networks": {"clinical": {"prefixes": ["198.51.100.0/24", "2001:db8:51::/64"], "interface": "eth0"}},
        **settings,
    }
    result = parse({"site": site, "services": services})
    assert result.site is not None, "\n".join(map(str, result.problems))
    return view(result.site, node)


def lines(seen: HaproxyView, head: str) -> list[str]:
    found = [section.lines for section in seen.sections if section.head == head]
    assert len(found) == 1, f"{head}: {[section.head for section in seen.sections]}"
    return found[0]


def test_an_unknown_node_is_refused() -> None:
    with pytest.raises(KeyError, match="lb9 is not a node"):
        shown({"pacs": PACS}, node="lb9")


def test_a_node_serves_the_services_of_its_groups_only() -> None:
    groups = {"one": {"id": 51, "nodes": ["lb1"]}, "two": {"id": 52, "nodes": ["lb2"]}}
    services = {
        "pacs": {**PACS, "group": "one"},
        "other": {**PACS, "group": "two", "address": "198.51.100.101"},
    }
    seen = shown(services, vrrp={"groups": groups})
    assert [section.head for section in seen.sections] == [
        "peers rota", "frontend pacs", "backend pacs", "backend rota.associations",
    ]  # fmt: skip
    assert lines(seen, "peers rota") == ["peer lb1 198.51.100.11:8406"]


def test_peers_are_the_nodes_own_addresses() -> None:
    assert lines(shown({"pacs": PACS}), "peers rota") == ["peer lb1 198.51.100.11:8406", "peer lb2 198.51.100.12:8406"]


def test_a_service_of_layer_4_is_probed_and_not_served() -> None:
    seen = shown({"pacs": {**PACS, "mode": "l4-dr", "port": 4242}})
    assert "frontend pacs" not in [section.head for section in seen.sections]
    assert "server pacs-a 198.51.100.21:4242 check weight 100" in lines(seen, "backend pacs")
    assert not [line for line in lines(seen, "backend pacs") if "observe" in line], "there is no traffic to observe"


def test_the_pace_of_the_design() -> None:
    """Gentle when all is well, fast when it is not; the defaults reach the daemon."""
    assert lines(shown({"pacs": PACS}), "backend pacs")[-3] == (
        "default-server inter 15s fastinter 150ms downinter 5s fall 2 rise 2 observe layer4 error-limit 1 on-error fastinter"
    )
    assert "timeout connect 2s" in lines(shown({"pacs": PACS}), "backend pacs")


def test_a_feed_has_one_member_at_a_time() -> None:
    feed = {
        "profile": "hl7",
        "address": "198.51.100.101",
        "members": {n: {"address": m["address"]} for n, m in MEMBERS.items()},
    }
    text = lines(shown({"adt": feed}), "backend adt")
    assert "stick on int(1)" in text
    assert "stick-table type integer size 16 nopurge peers rota" in text
    assert "server pacs-a 198.51.100.21 check weight 100 port 2575" in text
    assert "server pacs-b 198.51.100.22 check weight 100 port 2575 backup" in text
    assert any("on-marked-down shutdown-sessions" in line for line in text)


def test_maps_hold_each_members_title() -> None:
    seen = shown({"pacs": PACS})
    assert seen.maps["maps/called-ae.map"].splitlines() == [
        f"pacs/pacs-a {b'PACS_A'.ljust(16).hex().upper()}",
        f"pacs/pacs-b {b'PACS_B'.ljust(16).hex().upper()}",
    ]


def test_what_the_operator_gives_is_named() -> None:
    tls = {"mode": "re-encrypt", "certificate": "tls/web.pem", "member_ca": "tls/ca.pem"}
    members = {"a": {"address": "198.51.100.21", "port": 443}}
    web = {
        "profile": "viewer",
        "address": "198.51.100.103",
        "tls": tls,
        "members": members,
        "fallback": {"page": "down.html"},
    }
    seen = shown({"viewer": web})
    assert [(file.source, file.name) for file in seen.certificates] == [
        ("tls/web.pem", "certs/viewer.certificate.pem"),
        ("tls/ca.pem", "certs/viewer.member-ca.pem"),
    ]
    assert [(file.source, file.name) for file in seen.pages] == [("down.html", "pages/viewer.html")]


def test_transparent_members_are_caught_on_the_way_back() -> None:
    members = {**MEMBERS, "six": {"address": "2001:db8:51::21", "port": 4242, "called_ae": "SIX"}}
    service = {
        **PACS,
        "addresses": ["198.51.100.100", "2001:db8:51::100"],
        "mode": "l7-transparent",
        "members": members,
        "fallback": {"address": "198.51.100.30"},
    }
    del service["address"]
    seen = shown({"pacs": service})
    assert seen.transparent_members == {"v4": ["198.51.100.21", "198.51.100.22"], "v6": ["2001:db8:51::21"]}
    assert shown({"pacs": PACS}).transparent_members == {"v4": [], "v6": []}
    assert "use_backend pacs.v6 if { dst 2001:db8:51::100 }" in lines(seen, "frontend pacs")
    assert [line.split()[1] for line in lines(seen, "backend pacs.v6") if line.startswith("server ")] == ["six", "FALLBACK"]


def test_the_same_site_gives_the_same_view() -> None:
    assert shown({"pacs": PACS}).as_dict() == shown({"pacs": PACS}).as_dict()


def test_three_hundred_services_take_seconds() -> None:
    """The rollout renders each node; 10 s is far above what it takes and far below a minute."""
    services = {}
    for number in range(300):
        members = {
            f"m{n}": {"address": f"198.51.100.{20 + n}", "port": 5000 + number, "called_ae": f"A{n}"} for n in range(4)
        }
        services[f"s{number}"] = {**PACS, "port": 10000 + number, "members": members}
    begun = time.monotonic()
    assert len(shown(services).sections) == 602
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        ("L4OK", "", Reason.OK),
        ("L6OK", "", Reason.OK),
        ("L7OK", "(tcp-check)", Reason.OK),
        ("* L7OK", "(tcp-check)", Reason.OK),
        ("L4CON", "Connection refused at step 2 of tcp-check (connect)", Reason.REFUSED),
        ("L4CON", "No route to host", Reason.UNREACHABLE),
        ("L4TOUT", " at step 2", Reason.TIMEOUT),
        ("SOCKERR", "ECONNRESET returned by OS", Reason.CLOSED),
        ("L6RSP", "SSL handshake failure", Reason.TLS),
        ("L7TOUT", "at step 4 of tcp-check (x) comment: 'no answer to the association request'", Reason.SILENT),
        ("L7TOUT", "at step 9 of tcp-check (x) comment: 'no answer to C-ECHO'", Reason.TIMEOUT),
        ("L7TOUT", "", Reason.SILENT),
        ("L7RSP", "rejected: called AE title not recognised", Reason.REJECTED),
        ("L7OKC", "busy: local limit exceeded", Reason.BUSY),
        ("L7STS", "bad-status: HTTP status 503", Reason.BAD_STATUS),
        ("L7RSP", "TCPCHK got an empty response", Reason.BAD_ANSWER),
        ("INI", "", None),
        ("", "", None),
    ],
)
def test_reasons(status: str, text: str, reason: Reason | None) -> None:
    assert reason_of(status, text) is reason


def test_words_of_the_configuration() -> None:
    assert quote("plain-1.2:3/x") == "plain-1.2:3/x"
    assert quote("two words") == '"two words"'
    assert quote('$HOME "x" \\ #') == '"\\$HOME \\"x\\" \\\\ #"'
    assert quote("") == '""'
    assert literal("100%") == "100%%"
    assert [span(ms) for ms in (150, 1000, 90_000, 3_600_000, 172_800_000)] == ["150ms", "1s", "90s", "1h", "2d"]
    assert endpoint("198.51.100.1", None) == "198.51.100.1"
    assert endpoint("2001:db8::1", 104) == "[2001:db8::1]:104"
