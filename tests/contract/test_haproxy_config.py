"""Models → haproxy.cfg → the real `haproxy -c` of Debian 13, without one warning, for every profile, mode and option."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from lib import haproxy
from peers.pki import Authority

pytestmark = pytest.mark.contract

DICOM = {
    "pacs-a": {"address": "127.0.0.21", "port": 4242, "called_ae": "PACS_A"},
    "pacs-b": {"address": "127.0.0.22", "port": 4242, "called_ae": "B $1 \"x'#%{"},
}
PLAIN = {name: {"address": member["address"], "port": 8080} for name, member in DICOM.items()}
SIX = {"a": {"address": "::21", "port": 4242, "called_ae": "A"}, "b": {"address": "::22", "port": 4242, "called_ae": "B"}}
OFFLOAD = {"mode": "offload", "certificate": "tls/web.pem"}
MUTUAL = {**OFFLOAD, "client_ca": "tls/ca.pem", "minimum": "1.3"}
AGAIN = {"mode": "re-encrypt", "certificate": "tls/web.pem", "member_ca": "tls/ca.pem"}


def dicom(**more: Any) -> dict[str, Any]:
    return {"profile": "dicom", "address": "127.0.0.100", "members": copy.deepcopy(DICOM), **more}


def other(profile: str, **more: Any) -> dict[str, Any]:
    ports = {"port": 8080} if profile == "tcp" else {}
    return {"profile": profile, "address": "127.0.0.101", "members": copy.deepcopy(PLAIN), **ports, **more}


def members(base: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {name: {**member, **more} for name, member in base.items()}


WEB = ("xds-registry", "xds-repository", "xds-imaging", "dicomweb", "viewer", "rest")
CASES: dict[str, dict[str, Any]] = {
    "nothing": {},
    # profiles
    "dicom": {"s": dicom()},
    "dicom-tls": {"s": dicom(profile="dicom-tls")},
    **{name: {"s": other(name)} for name in ("hl7", "hl7-tls", *WEB, "database", "tcp")},
    # deep checks
    "deep": {"s": dicom(deep=["find", "store"])},
    "deep-l4": {"s": dicom(mode="l4-dr", port=4242, deep=["find"])},
    # modes
    "transparent": {"s": dicom(mode="l7-transparent")},
    "transparent-web": {"s": other("rest", mode="l7-transparent")},
    "transparent-six": {"s": dicom(mode="l7-transparent", address="::100", members=SIX)},
    "transparent-both": {
        "s": {
            "profile": "dicom",
            "addresses": ["127.0.0.100", "::100"],
            "mode": "l7-transparent",
            "members": {**DICOM, **SIX},
            "routes": {"FOUR": ["pacs-a"], "SIX": ["b"], "BOTH": ["pacs-b", "a"]},
            "fallback": {"address": "127.0.0.30"},
        }
    },
    "dr": {"s": dicom(mode="l4-dr", port=4242)},
    "nat": {"s": other("rest", mode="l4-nat")},
    "tun": {"s": other("tcp", mode="l4-tun")},
    "l4-fallback": {"s": other("rest", mode="l4-nat", fallback={"address": "127.0.0.30"})},
    # addresses
    "six": {"s": dicom(address="::100", members=SIX)},
    "both-families": {"s": {**dicom(), "addresses": ["127.0.0.100", "::100"], "address": None}},
    "several-ports": {"s": {**dicom(), "ports": [104, 11112]}},
    "port-of-the-client": {"s": {**dicom(), "members": {n: {**m, "port": None} for n, m in DICOM.items()}}},
    # balance and persistence
    **{f"balance-{name}": {"s": dicom(balance=name)} for name in ("leastconn", "roundrobin", "source", "first")},
    "source": {"s": dicom(persistence={"kind": "source", "timeout": "90500ms"})},
    "source-network": {"s": dicom(persistence={"kind": "source", "prefix_v4": 24, "prefix_v6": 56})},
    "source-network-limit": {"s": dicom(persistence={"kind": "source", "prefix_v4": 24}, routes={"A": ["pacs-a"]})},
    "calling-ae": {"s": dicom(persistence="calling-ae")},
    "cookie": {"s": other("rest", persistence={"kind": "cookie", "cookie": "SESSION"})},
    "cookie-tls": {"s": other("viewer", persistence="cookie", tls=OFFLOAD)},
    # members
    "weights": {
        "s": {**dicom(), "members": {"a": {**DICOM["pacs-a"], "weight": 0}, "b": {**DICOM["pacs-b"], "weight": 256}}}
    },
    "backup": {"s": {**dicom(), "members": {"a": DICOM["pacs-a"], "b": {**DICOM["pacs-b"], "backup": True}}}},
    "limits": {"s": dicom(members=members(DICOM, max_associations=5))},
    "limits-web": {"s": other("rest", members=members(PLAIN, max_associations=5))},
    "active-feeds": {"s": other("hl7", members=members(PLAIN, backup=False))},
    # fallback
    "fallback-server": {"s": dicom(fallback={"address": "127.0.0.30", "port": 105})},
    "fallback-server-web": {"s": other("rest", fallback={"address": "127.0.0.30"})},
    "fallback-page": {"s": other("viewer", tls=OFFLOAD, fallback={"page": "pages/down.html"})},
    "fallback-both": {"s": other("rest", fallback={"address": "127.0.0.30", "page": "pages/down.html"})},
    "fallback-feed": {"s": other("hl7", fallback={"address": "127.0.0.30"})},
    "fallback-again": {"s": dicom(profile="dicom-tls", tls=AGAIN, fallback={"address": "127.0.0.30"})},
    # DICOM
    "routes": {"s": dicom(routes={"A": ["pacs-a"], "B 1 \"$x'#%{": ["pacs-b"], "ALL": ["pacs-a", "pacs-b"]})},
    "routes-sticky": {"s": dicom(routes={"A": ["pacs-a"]}, persistence="calling-ae")},
    "routes-limits": {"s": dicom(routes={"A": ["pacs-a"]}, members=members(DICOM, max_associations=2))},
    "routes-fallback": {"s": dicom(routes={"A": ["pacs-a"]}, fallback={"address": "127.0.0.30"})},
    "allow": {
        "s": dicom(
            allow={
                "sources": [f"10.0.{n}.0/24" for n in range(100)] + ["2001:db8::/32"],
                "calling_ae": [f"CT {n}" for n in range(100)] + ["A\"$'#"],
                "called_ae": ["PACS"],
            }
        )
    },
    "allow-web": {"s": other("rest", allow={"sources": ["10.0.0.0/8"]})},
    "allow-tcp": {"s": other("tcp", allow={"sources": ["10.0.0.0/8"]})},
    # TLS
    "dicom-offload": {"s": dicom(profile="dicom-tls", tls=OFFLOAD)},
    "dicom-mutual": {"s": dicom(profile="dicom-tls", tls=MUTUAL)},
    "dicom-again": {"s": dicom(profile="dicom-tls", tls={**AGAIN, "member_certificate": "tls/web.pem"})},
    "dicom-pass-certificate": {
        "s": dicom(
            profile="dicom-tls",
            tls={"mode": "pass-through", "member_ca": "tls/ca.pem", "member_certificate": "tls/web.pem"},
        )
    },
    "hl7-offload": {"s": other("hl7-tls", tls=OFFLOAD, check="tcp")},
    "hl7-again": {"s": other("hl7-tls", tls=AGAIN)},
    "hl7-again-message": {"s": other("hl7-tls", tls=AGAIN, check="hl7")},
    **{f"{name}-offload": {"s": other(name, tls=OFFLOAD)} for name in WEB},
    **{f"{name}-again": {"s": other(name, tls=AGAIN)} for name in WEB},
    "again-unverified": {"s": other("rest", tls={"mode": "re-encrypt", "certificate": "tls/web.pem", "verify": False})},
    "again-named": {"s": other("rest", tls=AGAIN, members=members(PLAIN, tls_name="pacs.example.org"))},
    "pass-named": {"s": other("viewer", members=members(PLAIN, tls_name="pacs.example.org"))},
    "tcp-offload": {"s": other("tcp", tls=OFFLOAD)},
    # checks
    **{f"check-{kind}": {"s": other("tcp", check=kind)} for kind in ("hl7", "soap", "http", "tls", "tcp")},
    **{
        f"check-{kind}-in-tls": {"s": other("tcp", check={"kind": kind, "tls": True})}
        for kind in ("hl7", "soap", "http", "tcp")
    },
    "check-plain-for-tls": {"s": other("rest", tls=AGAIN, check={"kind": "http", "tls": False, "port": 81})},
    "check-one-title": {"s": dicom(members=members(DICOM, called_ae="PACS"))},
    "check-pace": {
        "s": dicom(
            check={
                "interval": "2500ms",
                "fast_interval": "250ms",
                "down_interval": "1m",
                "timeout": "1s",
                "fall": 1,
                "rise": 3,
                "port": 105,
            }
        )
    },
    "check-hl7-fields": {
        "s": other(
            "hl7", check={"kind": "hl7", "sending_application": "A.B:C-D_E", "message_type": "ADT:A01", "timeout": "2s"}
        )
    },
    "check-http-fields": {
        "s": other(
            "rest",
            check={
                "kind": "http",
                "path": "/a%20b?x=1&y=(z)#$",
                "method": "HEAD",
                "host": "pacs.example.org:8080",
                "status": "200",
                "expect": 'it\'s "up" 100% $HOME #1 \\o/',
            },
        )
    },
    "check-soap-fields": {
        "s": other("xds-registry", check={"kind": "soap", "soap_action": "urn:x:y", "expect": "<ok/>", "path": "/%7e"})
    },
    # the words of an operator
    "words": {"s": dicom(description='Images, 100% of them: $HOME # "x" \\', department="Radiology")},
}
VARIABLES: dict[str, dict[str, Any]] = {
    "threads": {"haproxy_nbthread": 1},
    "metrics": {"haproxy_metrics": True},
    "buffers": {"haproxy_bufsize": 32768},
    "hard-stop": {"haproxy_hard_stop_after": "7d", "haproxy_maxconn": 100},
}


def clean(services: dict[str, Any]) -> dict[str, Any]:
    """Services without the keys that are None: written that way above for brevity."""
    return {
        name: {
            key: (
                {m: {k: v for k, v in one.items() if v is not None} for m, one in value.items()}
                if key == "members"
                else value
            )
            for key, value in service.items()
            if value is not None
        }
        for name, service in services.items()
    }


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an operator would give: a CA, and a certificate with its key in one file."""
    authority = Authority(tmp_path_factory.mktemp("pki"))
    pair = authority.issue("rota")
    return {"ca.pem": authority.cert.read_bytes(), "web.pem": pair.cert.read_bytes() + pair.key.read_bytes()}


def judge(root: Path, pem: dict[str, bytes], services: dict[str, Any], node: str = "lb1", **variables: Any) -> str:
    document = haproxy.site(clean(services))
    with haproxy.prepared(root, document, node, **variables) as daemon:
        for needed in haproxy.view_of(document, node).certificates:
            (daemon.folder / needed.name).write_bytes(pem[Path(needed.source).name])
        done = daemon.judge()
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES)
def test_haproxy_accepts(daemon_root: Path, pem: dict[str, bytes], case: str) -> None:
    assert judge(daemon_root, pem, CASES[case]).strip() in ("", "Configuration file is valid")


@pytest.mark.parametrize("case", VARIABLES)
def test_haproxy_accepts_variables(daemon_root: Path, pem: dict[str, bytes], case: str) -> None:
    assert judge(daemon_root, pem, CASES["dicom"], **VARIABLES[case]).strip() in ("", "Configuration file is valid")


def test_haproxy_accepts_all_at_once(daemon_root: Path, pem: dict[str, bytes]) -> None:
    """Names of sections, maps and files of different services must not meet."""
    services = {}
    for number, (name, wanted) in enumerate(CASES.items()):
        for service in clean(wanted).values():
            one = {key: value for key, value in service.items() if key not in ("address", "addresses")}
            if "addresses" in service and service["addresses"]:
                one["addresses"] = [f"127.1.0.{number}", f"::1:{number:x}"]
            else:
                one["address"] = f"::1:{number:x}" if ":" in service["address"] else f"127.1.0.{number}"
            if service["profile"] == "dicom-tls":  # plain and TLS are different ports of a server
                one["members"] = members(one["members"], port=5000 + number)
            services[name] = one
    for node in ("lb1", "lb2"):
        assert judge(daemon_root, pem, services, node).strip() in ("", "Configuration file is valid")


def test_haproxy_refuses_what_is_wrong(daemon_root: Path) -> None:
    """The twin of all of the above: the judge can say no."""
    with haproxy.prepared(daemon_root, haproxy.site({"s": other("rest", tls=OFFLOAD)})) as daemon:
        done = daemon.judge()
    assert done.returncode == 1
    assert "certs/s.certificate.pem" in done.stderr
