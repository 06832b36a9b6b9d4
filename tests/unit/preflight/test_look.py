"""What pre-flight finds about members on loopback, good ones and bad ones."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from peers import dicom, tcp, web
from peers.pki import Authority, server_context
from peers.tcp import Talk, TcpPeer, free_port
from rota.model import Site, parse
from rota.preflight import network
from rota.preflight.findings import Level, Row, Subject
from rota.preflight.look import look
from rota.preflight.sheet import lines, source_of, to_csv

SITE: dict[str, Any] = {
    "name": "test",
    "ae_title": "BALANCER",
    "nodes": {
        "lb1": {"addresses": ["203.0.113.11", "127.0.0.1", "2001:db8:51::11"]},
        "lb2": {"addresses": ["203.0.113.12", "127.0.0.2", "2001:db8:51::12"]},
    },
    "networks": {
        "lan": {"prefixes": ["203.0.113.0/24", "2001:db8:51::/64"], "interface": "eth0"},
        "near": {"prefix": "127.0.0.0/8", "interface": "lo"},
    },
}
MEMBER = {"address": "127.0.0.1", "called_ae": "PACS_A"}


def site(member_port: int, **service: Any) -> Site:
    written = {
        "profile": "dicom", "address": "203.0.113.100", "members": {"pacs-a": {**MEMBER, "port": member_port}}, **service,
    }  # fmt: skip
    result = parse({"site": SITE, "services": {"pacs": written}})
    assert result.site is not None, result.problems
    return result.site


async def looked(port: int, files: Path = Path("/nonexistent"), **service: Any) -> Row:
    [row] = await look(site(port, **service), "lb1", None, files)
    return row


def level(row: Row, subject: Subject) -> Level | None:
    finding = row.of(subject)
    return finding.level if finding else None


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    async def named(address: str, **_: Any) -> tuple[str | None, float]:
        return f"node-{address}", 0.0

    monkeypatch.setattr(network, "reverse_name", named)


async def test_a_sound_archive() -> None:
    with TcpPeer(dicom.Scp()) as peer:
        row = await looked(peer.port)
    assert not row.blocks
    assert {
        s: level(row, s) for s in (Subject.REACH, Subject.CHECK, Subject.SOURCE, Subject.PDU, Subject.TIMES)
    } == dict.fromkeys((Subject.REACH, Subject.CHECK, Subject.SOURCE, Subject.PDU, Subject.TIMES), Level.OK)
    found = row.of(Subject.PDU), row.of(Subject.SOURCE), row.of(Subject.NAME)
    assert [f.text for f in found if f] == [
        "16384 bytes",
        "work and checks from 127.0.0.1",
        "127.0.0.1 is node-127.0.0.1",
    ]


# What the member does, and what must be found.
BAD: dict[str, tuple[Talk, Subject, Level]] = {
    "rejects": (dicom.Scp(on_associate=dicom.reject(1, 1, 3)), Subject.CHECK, Level.BLOCK),
    "busy": (dicom.Scp(on_associate=dicom.reject(2, 3, 2)), Subject.CHECK, Level.WARN),
    "silent": (tcp.silent, Subject.CHECK, Level.BLOCK),
    "small-pdu": (dicom.Scp(maximum=4096), Subject.PDU, Level.WARN),
    "no-pdu": (dicom.Scp(on_associate=dicom.reject(2, 3, 2)), Subject.PDU, Level.UNKNOWN),
}


@pytest.mark.parametrize(("talk", "subject", "wanted"), BAD.values(), ids=BAD)
async def test_what_is_wrong_is_found(talk: Talk, subject: Subject, wanted: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rota.preflight.look._DEADLINE", 1.0)
    with TcpPeer(talk) as peer:
        row = await looked(peer.port)
    assert level(row, subject) is wanted, row
    assert level(row, Subject.REACH) is Level.OK


async def test_nobody_there_blocks_and_asks_no_more() -> None:
    row = await looked(free_port())
    assert row.blocks
    assert level(row, Subject.REACH) is Level.BLOCK
    assert level(row, Subject.CHECK) is None


async def test_what_is_not_allowed_to_be_long_is_said() -> None:
    with TcpPeer(tcp.silent) as peer:
        row = await looked(peer.port, profile="hl7", timeouts={"client": "10m"})
    found = row.of(Subject.TIMES)
    assert found
    assert (found.level, "closes quiet feeds" in found.text) == (Level.WARN, True)


@pytest.mark.parametrize(
    ("days", "wanted"), [(90, Level.OK), (10, Level.WARN), (-1, Level.BLOCK)], ids=["good", "soon", "expired"]
)
async def test_a_certificate(days: int, wanted: Level, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    (tmp_path / "pacs.member-ca.pem").write_bytes(authority.cert.read_bytes())
    tls = {"member_ca": "ca.pem"}
    with TcpPeer(dicom.Scp(), tls=server_context(authority.issue(days=days))) as peer:
        row = await looked(peer.port, tmp_path, profile="dicom-tls", tls=tls)
    assert level(row, Subject.TLS) is wanted, row
    if days > 0:
        assert level(row, Subject.CHECK) is Level.OK


@pytest.mark.parametrize(("skew", "wanted"), [(0, Level.OK), (-300, Level.WARN), (None, Level.UNKNOWN)])
async def test_a_clock(skew: int | None, wanted: Level) -> None:
    stamp = "" if skew is None else f"Date: {format_datetime(datetime.now(UTC) + timedelta(seconds=skew), usegmt=True)}\r\n"
    with TcpPeer(web.Web(b"HTTP/1.1 200 OK\r\n" + stamp.encode() + b"Content-Length: 0\r\n\r\n")) as peer:
        row = await looked(peer.port, profile="rest")
    assert level(row, Subject.CLOCK) is wanted, row


async def test_no_reverse_name_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nameless(_address: str, **_: Any) -> tuple[str | None, float]:
        return None, 5.0

    monkeypatch.setattr(network, "reverse_name", nameless)
    row = await looked(free_port())
    assert level(row, Subject.NAME) is Level.WARN


def test_the_list_names_each_node_once_per_purpose() -> None:
    found = list(lines(site(104)))
    assert [(s.from_address, s.from_node, s.calling_ae, s.called_ae, s.purpose) for s in found] == [
        ("127.0.0.1", "lb1", "BALANCER", "PACS_A", "health checks"),
        ("127.0.0.1", "lb1", "as the caller's", "PACS_A", "all work"),
        ("127.0.0.2", "lb2", "BALANCER", "PACS_A", "health checks"),
        ("127.0.0.2", "lb2", "as the caller's", "PACS_A", "all work"),
    ]


@pytest.mark.parametrize("mode", ["l7-transparent", "l4-dr", "l4-nat"])
def test_where_callers_keep_their_address_the_list_says_so(mode: str) -> None:
    found = list(lines(site(104, mode=mode, port=104)))
    assert [s.from_address for s in found if s.purpose == "all work"] == ["each caller's own"]
    assert [s.from_address for s in found if s.purpose == "health checks"] == ["127.0.0.1", "127.0.0.2"]


def test_the_source_is_of_the_members_network_or_family() -> None:
    found = site(104)
    assert source_of(found, "lb1", "203.0.113.50") == "203.0.113.11"
    assert source_of(found, "lb1", "2001:db8:51::50") == "2001:db8:51::11"
    assert source_of(found, "lb1", "198.51.100.9") == "203.0.113.11"


def test_csv_is_whole_and_no_formula() -> None:
    members = {"pacs-a": {**MEMBER, "port": 104, "called_ae": "=1+1"}}
    rows = list(csv.DictReader(io.StringIO(to_csv(list(lines(site(104, members=members)))))))
    assert len(rows) == 4
    assert rows[0]["called_ae"] == "'=1+1"
    assert rows[0]["from_address"] == "127.0.0.1"


def test_checksum() -> None:
    # RFC 1071, section 3: the sum of this example is ddf2
    assert network.checksum(bytes.fromhex("0001f203f4f5f6f7")) == ~0xDDF2 & 0xFFFF
