"""`rota verify`: what is asked of each service, and how answers of several nodes become one table."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from rota import verify
from rota.checks import dicom, http, tcp, tls
from rota.checks.net import Address
from rota.checks.verdict import Reason
from rota.model import Site, parse

MEMBERS = {"a": {"address": "198.51.100.21", "port": 4242, "called_ae": "PACS_A"}}


def site(**more: Any) -> Site:
    document = {
        "site": {
            "name": "test",
            "nodes": {"lb1": {"address": "198.51.100.11"}},
            "networks": {"clinical": {"prefixes": ["198.51.100.0/24", "2001:db8:51::/64"], "interface": "eth0"}},
        },
        "services": {"one": {"profile": "dicom", "addresses": ["198.51.100.100"], "members": MEMBERS, **more}},
    }
    result = parse(document)
    assert result.site is not None, list(map(str, result.problems))
    return result.site


def asked(**more: Any) -> verify.Question:
    (question,) = verify.questions(site(**more))
    return question


def test_every_address_and_port_is_asked() -> None:
    found = site(addresses=["198.51.100.100", "2001:db8:51::100"], ports=[104, 11112])
    assert [(q.address, q.port) for q in verify.questions(found)] == [
        ("198.51.100.100", 104),
        ("198.51.100.100", 11112),
        ("2001:db8:51::100", 104),
        ("2001:db8:51::100", 11112),
    ]


def test_a_dicom_service_is_asked_at_its_own_address() -> None:
    target = asked().target
    assert isinstance(target, dicom.DicomTarget)
    assert (target.address, target.called, target.calling) == (Address("198.51.100.100", 104), "PACS_A", "ROTA")


def test_ae_titles_are_ones_that_may_pass() -> None:
    target = asked(routes={"STORE": ["a"]}, allow={"calling_ae": ["CT1"]}).target
    assert isinstance(target, dicom.DicomTarget)
    assert (target.called, target.calling) == ("STORE", "CT1")


def test_tls_is_as_clients_speak_it() -> None:
    offload = {"mode": "offload", "certificate": "web.pem"}
    target = asked(profile="viewer", tls=offload).target
    assert isinstance(target, http.HttpTarget)
    assert target.url == "https://198.51.100.100:443/"
    plain = asked(profile="viewer", port=80, tls="none", check={"kind": "http", "tls": True}).target
    assert isinstance(plain, http.HttpTarget)
    assert (plain.url, plain.tls) == ("http://198.51.100.100:80/", None)
    assert isinstance(asked(profile="tcp", port=1, tls="pass-through", check="tls").target, tls.TlsTarget)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"allow": {"sources": ["203.0.113.0/24"]}}, "allow.sources has no node of the site"),
        (
            {"profile": "viewer", "tls": {"mode": "offload", "certificate": "a.pem", "client_ca": "ca.pem"}},
            "clients must show a certificate",
        ),
    ],
)
def test_what_a_node_may_not_ask_is_said_and_no_failure(more: dict[str, Any], why: str) -> None:
    question = asked(**more)
    row = asyncio.run(verify.ask(question, asyncio.Semaphore(1)))
    assert (row.verdict, row.detail) == ("not asked", why)
    assert asked(allow={"sources": ["198.51.100.11/32"]}).target is not None


def test_only_the_holder_asks_a_transparent_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere the member's answer would go past the node that holds the connection: a false alarm."""
    assert "only the node that holds" in asked(mode="l7-transparent").why_not
    monkeypatch.setattr(verify, "_here", lambda address: address == "198.51.100.100")
    assert asked(mode="l7-transparent").target is not None
    monkeypatch.undo()
    assert asked(mode="l7").target is not None
    assert verify._here("127.0.0.1")
    assert not verify._here("198.51.100.100")


# what a kernel lists of 198.51.100.11/24 and .100/24: a socket connected to the second leaves from the first
FIB_TRIE = """Local:
  +-- 198.51.100.0/24 2 0 1
     +-- 198.51.100.0/28 2 0 2
        |-- 198.51.100.0
           /24 link UNICAST
        |-- 198.51.100.11
           /32 host LOCAL
     |-- 198.51.100.100
        /32 host LOCAL
     |-- 198.51.100.255
        /32 link BROADCAST
"""
IF_INET6 = "20010db8000000000000000000000100 03 40 00 82       d0\n"


def test_an_address_is_ours_when_the_kernel_lists_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, text in (("_FIB_TRIE", FIB_TRIE), ("_IF_INET6", IF_INET6)):
        tmp_path.joinpath(name).write_text(text)
        monkeypatch.setattr(verify, name, tmp_path / name)
    ours = ("198.51.100.11", "198.51.100.100", "2001:db8::100")
    others = ("198.51.100.0", "198.51.100.1", "198.51.100.101", "198.51.100.255", "2001:db8::10", "2001:db8::1")
    assert [address for address in (*ours, *others) if verify._here(address)] == [*ours]
    monkeypatch.setattr(verify, "_IF_INET6", tmp_path / "none")
    assert not verify._here("2001:db8::100")


def layer4(monkeypatch: pytest.MonkeyPatch, *ours: str) -> verify.Question:
    monkeypatch.setattr(verify, "_here", lambda address: address in ours)
    return asked(mode="l4-nat")


def test_at_layer_4_the_node_that_has_the_address_asks_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen on a real kernel: a connection of its own comes to nothing."""
    assert isinstance(layer4(monkeypatch, "198.51.100.11", "198.51.100.100").target, verify.verify_layer4.Kernel)
    elsewhere = layer4(monkeypatch, "198.51.100.11")
    assert (elsewhere.target, elsewhere.nodes) == (None, ("lb1",))
    assert isinstance(layer4(monkeypatch).target, dicom.DicomTarget), (
        "whoever is no node of the site is a caller as any other"
    )


def test_a_layer_4_address_that_no_node_has_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    said = asyncio.run(verify.ask(layer4(monkeypatch, "198.51.100.11"), asyncio.Semaphore(1)))
    (found,) = verify.worst({"lb1": json.dumps([asdict(said)])})
    assert (found.verdict, found.detail) == ("down", "none of its nodes has the address (lb1)")
    (found,) = verify.worst({"lb2": json.dumps([asdict(said)])})
    assert found.verdict == "not asked", "lb1, which may have it, did not answer"


class Closing(asyncio.Protocol):
    """HAProxy without a member: it takes a connection before it knows that none is left."""

    def connection_made(self, transport: Any) -> None:
        transport.close()


@pytest.mark.parametrize(("protocol", "reason"), [(Closing, Reason.CLOSED), (asyncio.Protocol, Reason.OK)])
async def test_a_port_that_closes_at_once_is_down(protocol: type[asyncio.Protocol], reason: Reason) -> None:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        target = tcp.TcpTarget(Address("127.0.0.1", server.sockets[0].getsockname()[1]))
        assert (await verify.stays_open(target, deadline=2)).reason is reason


async def test_what_is_down_is_asked_again_and_the_rest_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: dict[str, int] = {}

    async def ask(question: verify.Question, _turn: asyncio.Semaphore) -> verify.Row:
        counts[question.address] = counts.get(question.address, 0) + 1
        word = "up" if question.address.startswith("198") or counts[question.address] > 2 else "down"
        return verify.Row("one", question.address, 104, "dicom", word, "ok", "", 1.0)

    monkeypatch.setattr(verify, "ask", ask)
    monkeypatch.setattr(verify, "_PAUSE", 0.0)
    both = verify.questions(site(addresses=["198.51.100.100", "2001:db8:51::100"]))
    assert [r.verdict for r in await verify.ask_all(both)] == ["up", "down"]
    assert [r.verdict for r in await verify.ask_all(both, wait=5)] == ["up", "up"]
    assert counts == {"198.51.100.100": 2, "2001:db8:51::100": 3}


def row(verdict: str, elapsed: float) -> dict[str, Any]:
    return {
        "service": "one",
        "address": "198.51.100.100",
        "port": 104,
        "check": "dicom",
        "verdict": verdict,
        "reason": "ok" if verdict == "up" else "refused",
        "detail": "d",
        "elapsed_ms": elapsed,
    }


def test_the_worst_answer_counts_and_names_its_node() -> None:
    answers = {"lb1": json.dumps([row("up", 9.0)]), "lb2": json.dumps([row("down", 1.0)])}
    (found,) = verify.worst(answers)
    assert (found.verdict, found.detail) == ("down", "d (from lb2)")


def test_one_node_that_asked_is_enough() -> None:
    answers = {"lb1": json.dumps([row("not asked", 0.0)]), "lb2": json.dumps([row("up", 1.0)])}
    assert [r.verdict for r in verify.worst(answers)] == ["up"]


def test_of_two_good_answers_the_slower_one_counts() -> None:
    answers = {"lb1": json.dumps([row("up", 9.0)]), "lb2": json.dumps([row("up", 1.0)])}
    assert [r.elapsed_ms for r in verify.worst(answers)] == [9.0]


def test_the_table_has_a_line_for_each() -> None:
    head, line = verify.table([verify.Row(**row("down", 3.2))]).splitlines()
    assert head.split() == ["service", "address", "port", "check", "verdict", "reason", "ms"]
    assert line.split() == ["one", "198.51.100.100", "104", "dicom", "down", "refused", "d", "3"]
