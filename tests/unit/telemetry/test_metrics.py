"""The metrics page: what Prometheus reads is what the status says, and unknown is never up."""

from __future__ import annotations

from collections import Counter

from prometheus_client.parser import text_string_to_metric_families
from rota.control.metrics import exposition
from rota.control.state import IpvsCounts, Status, Verdict
from unit.api import double


def samples(status: Status) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = exposition(lambda: status, Counter({"verdict": 3})).decode()
    return {(s.name, frozenset(s.labels.items())): s.value for f in text_string_to_metric_families(text) for s in f.samples}


def pick(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_the_page_says_what_the_status_says() -> None:
    a = double.member("a", associations=4, limit=10)
    members = [a, double.member("b", Verdict.UNKNOWN), double.member("c", Verdict.CANNOT_STORE)]
    status = double.Double().status().model_copy(update={"services": [double.service("pacs", members)]})
    found = samples(status)
    assert pick(found, "rota_member_up", service="pacs", member="a") == 1
    assert pick(found, "rota_member_up", service="pacs", member="b") == 0
    assert pick(found, "rota_member_up", service="pacs", member="c") == 0
    assert pick(found, "rota_member_verdict", service="pacs", member="c", verdict="cannot-store") == 1
    assert pick(found, "rota_member_associations", service="pacs", member="a") == 4
    assert pick(found, "rota_member_association_limit", service="pacs", member="a") == 10
    assert pick(found, "rota_member_intent", service="pacs", member="a", intent="ready") == 1
    assert pick(found, "rota_events_total", kind="verdict") == 3
    assert pick(found, "rota_info", node=status.node, version=status.version, model=status.model_hash) == 1


def test_exactly_one_word_of_each_set_is_in_force() -> None:
    found = samples(double.Double().status())
    sets: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for (name, labels), value in found.items():
        for word in ("verdict", "intent", "role", "state"):
            if name.endswith(word):
                rest = frozenset(pair for pair in labels if pair[0] != word)
                sets[name, rest] = sets.get((name, rest), 0) + value
    assert sets
    assert set(sets.values()) == {1.0}


def test_layer_4_counts_are_the_kernels_and_a_member_that_is_out_has_no_weight() -> None:
    there = double.member("a", ipvs=IpvsCounts(weight=0, active=3, inactive=1))
    out = double.member("b", ipvs=IpvsCounts(weight=None, active=0, inactive=2))
    status = double.Double().status().model_copy(update={"services": [double.service("pacs", [there, out], mode="l4-dr")]})
    found = samples(status)
    assert pick(found, "rota_ipvs_weight", service="pacs", member="a") == 0
    assert ("rota_ipvs_weight", frozenset({("service", "pacs"), ("member", "b")})) not in found
    assert pick(found, "rota_ipvs_connections", service="pacs", member="a", state="active") == 3
    assert pick(found, "rota_ipvs_connections", service="pacs", member="b", state="inactive") == 2
