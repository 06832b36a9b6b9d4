"""What the model says of deep checks: exact lines, and what is filled in."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from rota import model
from rota.model.deep import DEFAULTS, KEYS, DeepCheck, DeepKind, Effect

SITE: dict[str, Any] = {
    "name": "st-marys",
    "ae_title": "BALANCER",
    "nodes": {"lb1": {"address": "198.51.100.11"}},
    "networks": {"clinical": {"prefix": "198.51.100.0/24", "interface": "eth0"}},
    "management": ["192.0.2.0/24"],
}
PACS: dict[str, Any] = {
    "profile": "dicom",
    "address": "198.51.100.100",
    "members": {"pacs-a": {"address": "198.51.100.21", "called_ae": "PACS_A"}},
}
WEB: dict[str, Any] = {
    "profile": "rest",
    "address": "198.51.100.101",
    "members": {"web-a": {"address": "198.51.100.31", "port": 8080}},
}
DATABASE = {"kind": "postgresql", "credentials": "pacs-db"}
# One sound check of each kind, on the DICOM service.
SOUND: dict[str, dict[str, Any]] = {
    "find": {"kind": "find"},
    "store": {"kind": "store"},
    "storage": {"kind": "storage", "port": 8042, "path": "/statistics", "field": "$.free", "minimum": 100},
    "http": {"kind": "http", "port": 8042, "headers": {"Server": "nginx"}, "json_values": {"$.queue": "<100"}},
    "soap": {"kind": "soap", "port": 8080, "element": "RegistryResponse"},
    "postgresql": DATABASE,
    "mysql": {**DATABASE, "kind": "mysql"},
    "mssql": {**DATABASE, "kind": "mssql"},
    "certificate": {"kind": "certificate", "port": 2762},
    "ldap": {"kind": "ldap", "credentials": "ldap"},
    "command": {"kind": "command", "argv": ["/usr/local/lib/ours", "{address}"]},
}


def parsed(base: dict[str, Any], *checks: Any) -> model.Result:
    return model.parse({"site": SITE, "services": {"s": {**base, "deep": list(checks)}}})


def lines(base: dict[str, Any], *checks: Any) -> list[str]:
    return [str(p) for p in parsed(base, *checks).problems]


def good(base: dict[str, Any], *checks: Any) -> list[DeepCheck]:
    result = parsed(base, *checks)
    assert result.site is not None, result.problems
    return result.site.services["s"].deep


def test_every_kind_can_be_written_and_read_again() -> None:
    assert set(SOUND) == set(DEFAULTS) == set(KEYS) == {kind.value for kind in DeepKind}
    result = parsed(PACS, *SOUND.values())
    assert result.site is not None, result.problems
    assert result.problems == []
    document = json.loads(json.dumps(model.dump(result.site)))
    assert model.parse(document).site == result.site
    validator = jsonschema.Draft202012Validator(model.json_schema())
    assert not list(validator.iter_errors(document))
    assert not list(validator.iter_errors({"services": {"s": {**PACS, "deep": ["find", *SOUND.values()]}}}))


def test_a_word_is_a_check_with_the_defaults_of_its_kind() -> None:
    find, store = good(PACS, "find", {"kind": "store", "interval": "1h"})
    assert (find.name, find.interval, find.calling_ae, find.effect) == ("find", 120_000, "BALANCER", Effect.OUT)
    assert (store.interval, store.retry, store.timeout) == (3_600_000, 30_000, 20_000)


def test_ldap_has_one_way_into_tls() -> None:
    bind = {"kind": "ldap", "credentials": "ldap"}
    [inside, turned] = good(PACS, {**bind, "tls": True}, {**bind, "name": "turned", "start_tls": True})
    assert (inside.port, turned.port) == (636, 389)
    assert lines(PACS, {**bind, "tls": True, "start_tls": True}) == [
        "services.s.deep[0].start_tls: contradicts tls: that port speaks TLS from the first byte on"
    ]
    assert lines(PACS, {**DATABASE, "start_tls": True}) == [
        "services.s.deep[0].start_tls: has no meaning for a postgresql check"
    ]


def test_a_certificate_that_ends_soon_is_told_and_takes_nobody_out() -> None:
    [check] = good(PACS, {"kind": "certificate", "port": 2762})
    assert (check.effect, check.days) == (Effect.WARN, 21)


def test_ldap_inside_tls_has_its_own_port() -> None:
    plain, secure = good(PACS, SOUND["ldap"], {**SOUND["ldap"], "tls": True, "name": "ldaps"})
    assert (plain.port, secure.port) == (389, 636)


def test_no_service_has_deep_checks_unless_somebody_asks() -> None:
    for profile in model.schema.Profile:  # type: ignore[attr-defined]
        written = {**WEB, "profile": profile.value, "ports": [104]}
        assert model.parse({"services": {"s": written}}, need_site=False).services["s"].deep == []


ONE_LINE: dict[str, tuple[dict[str, Any], list[Any], str]] = {
    "no list": ({**PACS, "deep": 7}, [], "s.deep: 7 is not a list"),
    "unknown kind": (
        PACS,
        ["stor"],
        "s.deep[0].kind: stor is not one of find, store, storage, http, soap, postgresql, mysql, mssql, certificate, ldap, "
        "command (did you mean store?)",
    ),
    "unknown key": (
        PACS,
        [{"kind": "find", "intervall": "1h"}],
        "s.deep[0].intervall: unknown key (did you mean interval?)",
    ),
    "same name": (PACS, ["find", "find"], "s.deep[1].name: find is already deep check 0: give each its own name"),
    "key of another kind": (PACS, [{"kind": "find", "days": 3}], "s.deep[0].days: has no meaning for a find check"),
    "too quick": (
        PACS,
        [{"kind": "find", "interval": "9s", "retry": "2s", "timeout": "1s"}],
        "s.deep[0].interval: 9s is quicker than 10s: a deep check costs the member work",
    ),
    "slow retry": (PACS, [{"kind": "find", "retry": "3m"}], "s.deep[0].retry: 3m is slower than the interval"),
    "quick retry": (PACS, [{"kind": "find", "retry": "10ms"}], "s.deep[0].retry: 10ms is quicker than 1s"),
    "long timeout": (PACS, [{"kind": "find", "timeout": "3m"}], "s.deep[0].timeout: 3m is longer than the interval 2m"),
    "find without DICOM": (WEB, [{"kind": "find", "called_ae": "X"}], "s.deep[0].kind: find needs a DICOM service"),
    "no AE title": (
        {**PACS, "check": "tcp", "members": {"a": {"address": "198.51.100.21"}}},
        ["store"],
        "s.deep[0].called_ae: is missing: member a has none either",
    ),
    "no credentials": (PACS, ["mysql"], "s.deep[0].credentials: is missing: a query needs a login"),
    "credentials are a bare name": (
        PACS,
        [{"kind": "ldap", "credentials": "../shadow"}],
        "s.deep[0].credentials: '../shadow' is not the bare name of a file in the nodes' folder of credentials",
    ),
    "no argv": (PACS, ["command"], "s.deep[0].argv: is missing: which program to run"),
    "argv without a path": (
        PACS,
        [{"kind": "command", "argv": ["df"]}],
        "s.deep[0].argv: must begin with the whole path of a program",
    ),
    "field is no path": (
        PACS,
        [{**SOUND["storage"], "field": "free"}],
        "s.deep[0].field: free is not a JSONPath (it begins with $)",
    ),
    "storage without a limit": (
        PACS,
        [{"kind": "storage", "port": 8042, "path": "/s"}],
        "s.deep[0].minimum: is missing: how much room must be left",
    ),
    "field without a URL": (
        PACS,
        [{"kind": "storage", "port": 8042, "field": "$.a", "minimum": 1}],
        "s.deep[0].path: is missing: the field is in the answer of a URL",
    ),
    "file agent without a port": (
        WEB,
        [{"kind": "storage", "minimum": 1}],
        "s.deep[0].port: is missing: a file agent has a port of its own (or give a path)",
    ),
    "web on a DICOM port": (PACS, ["http"], "s.deep[0].port: is missing: the service's own port does not speak HTTP"),
    "TLS on a plain port": (PACS, ["certificate"], "s.deep[0].port: is missing: the service's own port does not speak TLS"),
    "status": (
        WEB,
        [{"kind": "http", "status": "OK"}],
        "s.deep[0].status: OK is neither a status nor a range such as 200-399",
    ),
    "hasty certificate": (
        PACS,
        [{"kind": "certificate", "port": 2762, "effect": "out"}],
        "s.deep[0].effect: warning: out takes a member away while its certificate is still valid; warn would only raise the alarm",
    ),
}


@pytest.mark.parametrize(("base", "checks", "line"), ONE_LINE.values(), ids=ONE_LINE.keys())
def test_exactly_one_line(base: dict[str, Any], checks: list[Any], line: str) -> None:
    written = {**base, **({"deep": checks} if checks else {})}
    found = model.parse({"site": SITE, "services": {"s": written}}).problems
    assert [str(p) for p in found] == [f"services.{line}"]
