"""The objects of ROTA-MIB and net-snmp's protocol."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rota.control.state import IntentState, PairState, Role, Status, Verdict
from rota.said import Said
from rota.snmp import tree
from rota.snmp.agent import Agent, oid_of
from unit.api import double

MIB = (Path(tree.__file__).parent / "ROTA-MIB.txt").read_text()


def status() -> Status:
    members = [double.member("a", associations=3), double.member("b", Verdict.CANNOT_STORE, reason="stö\nre")]
    return double.Double().status().model_copy(update={"services": [double.service("pacs", members)]})


class Asked:
    def __init__(self, found: Status | None) -> None:
        self.found, self.count, self.at = found, 0, 0.0
        self.agent = Agent(self.status, steady=lambda: self.at)

    def status(self) -> Status:
        self.count += 1
        if self.found is None:
            raise Said("rotad does not answer")
        return self.found

    def say(self, *lines: str) -> str:
        out = io.StringIO()
        self.agent.serve(io.StringIO("".join(f"{line}\n" for line in lines)), out)
        return out.getvalue()


BASE = "." + ".".join(map(str, tree.BASE))


def test_a_member_by_its_number() -> None:
    asked = Asked(status())
    assert asked.say("PING", "get", f"{BASE}.3.1.3.1") == f"PONG\n{BASE}.3.1.3.1\nstring\na\n"
    assert asked.say("get", f"{BASE}.3.1.4.2") == f"{BASE}.3.1.4.2\ninteger\n3\n"
    assert asked.say("get", f"{BASE}.3.1.5.2") == f"{BASE}.3.1.5.2\nstring\nst??re\n"
    assert asked.say("get", f"{BASE}.3.1.8.1") == f"{BASE}.3.1.8.1\ngauge\n3\n"


def test_a_walk_sees_every_object_once_in_order_and_asks_rotad_once() -> None:
    asked = Asked(status())
    oid, seen = BASE, []
    while (lines := asked.say("getnext", oid).splitlines()) != ["NONE"]:
        oid = lines[0]
        seen.append(tuple(map(int, oid[1:].split("."))))
    assert seen == sorted(tree.objects(status()))
    assert asked.count == 1
    asked.at += 6
    asked.say("get", BASE)
    assert asked.count == 2


def test_a_silent_rotad_has_no_objects_and_is_not_asked_for_each() -> None:
    asked = Asked(None)
    assert asked.say("getnext", BASE, "get", f"{BASE}.1.1.0") == "NONE\nNONE\n"
    assert asked.count == 1


@pytest.mark.parametrize("line", ["", ".", "1.x", ".1..3", "²", "9" * 40])
def test_what_is_no_oid(line: str) -> None:
    assert oid_of(line) is None
    assert Asked(status()).say("get", line) == "NONE\n"


def test_nothing_can_be_set() -> None:
    assert Asked(status()).say("set", BASE, "integer 1", "PING") == "not-writable\nPONG\n"


def test_every_word_of_a_status_has_a_number_and_the_mib_has_the_same() -> None:
    for words, numbers in (
        (Verdict, tree.MEMBER_VERDICT),
        (IntentState, tree.INTENT),
        (Role, tree.ROLE),
        (PairState, tree.PAIR),
    ):
        assert {w.value for w in words} == set(numbers)  # type: ignore[attr-defined]
    camel = {re.sub("-(.)", lambda m: m[1].upper(), word): word for numbers in _all() for word in numbers}
    found = [
        {camel[word]: int(number) for word, number in re.findall(r"(\w+)\((\d+)\)", text) if word != "other"}
        for text in re.findall(r"INTEGER \{([^}]*)\}", MIB)
    ]
    assert found == [tree.SERVICE_VERDICT, tree.MEMBER_VERDICT, tree.INTENT, tree.ROLE, tree.PAIR]


def _all() -> list[dict[str, int]]:
    return [tree.SERVICE_VERDICT, tree.MEMBER_VERDICT, tree.INTENT, tree.ROLE, tree.PAIR]
