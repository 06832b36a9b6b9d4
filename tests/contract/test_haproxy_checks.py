"""The native checks of the real haproxy against peers that misbehave: the verdict and the reason of each.

The peers are those that `rota check` is held to, each failing one with a passing twin.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lib import haproxy
from lib.poll import wait_until
from peers import dicom, mllp, web
from peers.pki import Authority, server_context
from peers.servers import orthanc, storescp
from peers.tcp import Case, TcpPeer, free_port
from rota.haproxy.reasons import reason_of

pytestmark = pytest.mark.contract

# Where the native check says less than `rota check`: patterns over a stream cannot count lengths.
ELSEWHERE = {
    "dicom": {
        "nonsense-message": "timeout",  # it waits for a status that does not come
        "nonsense-after-acceptance": "timeout",
        "release-in-place-of-echo": "timeout",
    },
    "hl7": {},
    "http": {
        "half-a-body": "ok",  # the status is all that it asks for
        "drips-body": "ok",
        "garbage": "silent",  # no whole head, no answer
        "ssh": "silent",
        "drips-head": "silent",
    },
    "soap": {
        "wrong-message": "ok",  # RelatesTo is optional, and cannot be compared only where it is there
        "dtd": "ok",  # nothing here reads XML, so no entity can hurt
        "garbage": "silent",
    },
}
PEERS: dict[str, dict[str, Case]] = {
    "dicom": dicom.CASES,
    "hl7": mllp.CASES,
    "http": web.CASES,
    "soap": web.SOAP_CASES,
}
PROFILES = {"dicom": "dicom", "hl7": "hl7", "http": "rest", "soap": "xds-registry"}
# A native check cannot fit its C-ECHO of 80 bytes to what the peer announces; no real server takes less than that.
NOT_ASKED = {("dicom", "tiny-pdus")}
ALL = [(kind, name) for kind, cases in PEERS.items() for name in cases if (kind, name) not in NOT_ASKED]


SHARED = pytest.mark.xdist_group("haproxy-checks")  # they look at one haproxy


def name_of(kind: str, case: str) -> str:
    return f"{kind}-{list(PEERS[kind]).index(case)}"


def service(kind: str, number: int, port: int, host: str = "127.0.0.1", **more: Any) -> dict[str, Any]:
    member = {"address": host, "port": port, **({"called_ae": "PACS_A"} if kind == "dicom" else {})}
    # the first checks of all members are spread over one interval
    check = {"kind": kind, "interval": "2s", "timeout": "1500ms", "fast_interval": "200ms", "fall": 1, "rise": 1}
    profile = PROFILES.get(kind, "tcp")
    return {
        "profile": profile,
        "address": "127.0.0.100",
        "port": 20000 + number,
        "members": {"m": member},
        "check": check,
        **more,
    }


@pytest.fixture(scope="module")
def seen(daemon_root: Path) -> Iterator[dict[str, dict[str, str]]]:
    """One haproxy that asks every peer; the settled row of `show stat` by service."""
    with contextlib.ExitStack() as stack:
        services = {}
        for number, (kind, case) in enumerate(ALL):
            peer = stack.enter_context(TcpPeer(PEERS[kind][case].talk))
            services[name_of(kind, case)] = service(kind, number, peer.port, peer.host)
        daemon = stack.enter_context(haproxy.running(daemon_root, haproxy.site(services)))
        rows: dict[str, dict[str, str]] = {}

        def settled() -> bool:
            rows.update({row["pxname"]: row for row in daemon.rows() if row["svname"] == "m"})
            # a first round: every check has ended, with the longest time-out of them
            return all(row["check_status"] not in ("INI", "") and "*" not in row["check_status"] for row in rows.values())

        wait_until(settled, within=20)
        yield dict(rows)


@SHARED
@pytest.mark.parametrize(("kind", "case"), ALL)
def test_verdict_and_reason(seen: dict[str, dict[str, str]], kind: str, case: str) -> None:
    row = seen[name_of(kind, case)]
    wanted = ELSEWHERE[kind].get(case, PEERS[kind][case].reason)
    assert reason_of(row["check_status"], row["last_chk"]) == wanted, f"{row['check_status']} {row['last_chk']}"
    status = {"ok": "UP", "busy": "NOLB"}.get(wanted, "DOWN")
    assert row["status"].startswith(status)


@SHARED
def test_no_answer_is_ever_quoted(seen: dict[str, dict[str, str]]) -> None:
    """Some of the peers answer with a patient's name."""
    assert not [row for row in seen.values() if "SECRET" in row["last_chk"]]


@SHARED
def test_every_failing_case_differs_from_its_twin(seen: dict[str, dict[str, str]]) -> None:
    for kind, case in ALL:
        twin = PEERS[kind][case].twin
        if twin and ELSEWHERE[kind].get(case) != "ok":
            assert seen[name_of(kind, twin)]["status"].startswith("UP"), f"{kind} {twin}"
            assert not seen[name_of(kind, case)]["status"].startswith("UP"), f"{kind} {case}"


@contextlib.contextmanager
def asking(root: Path, tmp_path: Path | None = None, **services: dict[str, Any]) -> Iterator[haproxy.Haproxy]:
    """A haproxy with `services`, each with the member `m` first."""
    document = haproxy.site(services)
    with haproxy.prepared(root, document) as daemon:
        for needed in haproxy.view_of(document).certificates:
            assert tmp_path is not None
            (daemon.folder / needed.name).write_bytes((tmp_path / needed.source).read_bytes())
        try:
            daemon.start()
            yield daemon
        finally:
            daemon.stop()


def verdict(daemon: haproxy.Haproxy, backend: str, server: str = "m") -> tuple[str, str]:
    """Status and reason of a member once its first check has ended."""

    def ended() -> dict[str, str] | None:
        row = daemon.stat(backend, server)
        return row if row["check_status"] not in ("INI", "") and "*" not in row["check_status"] else None

    row = wait_until(ended, within=8)
    assert row is not None
    return row["status"].split()[0], str(reason_of(row["check_status"], row["last_chk"]))


def test_real_servers_are_up(daemon_root: Path, tmp_path: Path) -> None:
    """Each member's check calls the AE title of that member: Orthanc refuses another one."""
    with (
        orthanc(tmp_path / "o", title="ORTHANC") as archive,
        storescp(tmp_path / "s") as store,
        dicom.pynetdicom_scp() as port,
    ):
        pacs = service("dicom", 0, archive.port)
        pacs["members"] = {
            "m": {"address": "127.0.0.1", "port": archive.port, "called_ae": "ORTHANC"},
            "store": {"address": "127.0.0.1", "port": store.port, "called_ae": "STORESCP"},
            "python": {"address": "127.0.0.1", "port": port, "called_ae": "ANY TITLE"},
        }
        wrong = service("dicom", 1, archive.port)
        wrong["members"] = {"m": {"address": "127.0.0.1", "port": archive.port, "called_ae": "STORESCP"}}
        with asking(daemon_root, pacs=pacs, wrong=wrong) as daemon:
            assert [verdict(daemon, "pacs", name) for name in pacs["members"]] == [("UP", "ok")] * 3
            assert verdict(daemon, "wrong") == ("DOWN", "rejected")
            row = daemon.stat("wrong", "m")
            assert row["last_chk"] == "rejected: called AE title not recognised"


def test_an_archive_that_hangs_is_out_until_it_answers(daemon_root: Path, tmp_path: Path) -> None:
    """SIGSTOP: its kernel goes on accepting, so that only a check that waits for DICOM sees it."""
    with orthanc(tmp_path, title="PACS_A") as archive, asking(daemon_root, pacs=service("dicom", 0, archive.port)) as daemon:
        assert verdict(daemon, "pacs") == ("UP", "ok")
        archive.process.send_signal(signal.SIGSTOP)
        with socket.create_connection(("127.0.0.1", archive.port), timeout=5):
            daemon.wait_for("pacs", "m", "DOWN", within=15)
        row = daemon.stat("pacs", "m")
        assert reason_of(row["check_status"], row["last_chk"]) == "silent", row
        archive.process.send_signal(signal.SIGCONT)
        daemon.wait_for("pacs", "m", "UP", within=15)


def test_storescp_that_refuses(daemon_root: Path, tmp_path: Path) -> None:
    with storescp(tmp_path, "--refuse") as store, asking(daemon_root, pacs=service("dicom", 0, store.port)) as daemon:
        assert verdict(daemon, "pacs") == ("DOWN", "rejected")


def test_the_peer_sees_both_titles(daemon_root: Path) -> None:
    talk = dicom.Scp()
    with TcpPeer(talk) as peer:
        pacs = service("dicom", 0, peer.port)
        pacs["members"]["other"] = {"address": peer.host, "port": free_port(), "called_ae": "PACS_B"}
        pacs["check"]["calling_ae"] = "OUR TITLE"
        with asking(daemon_root, pacs=pacs) as daemon:
            assert verdict(daemon, "pacs") == ("UP", "ok")
            assert verdict(daemon, "pacs", "other") == ("DOWN", "refused")
    assert talk.calls[0] == ("PACS_A", "OUR TITLE")


def test_busy_gets_no_new_work_and_is_not_down(daemon_root: Path) -> None:
    """PS3.8: a transient rejection says "later", and later it is up again by itself."""
    talk = dicom.Scp(on_associate=dicom.reject(2, 3, 2))
    with TcpPeer(talk) as peer:
        pacs = service("dicom", 0, peer.port)
        pacs["check"] = {**pacs["check"], "interval": "1s", "timeout": "1s"}
        with asking(daemon_root, pacs=pacs) as daemon:
            assert verdict(daemon, "pacs") == ("NOLB", "busy")
            talk.on_associate = None
            daemon.wait_for("pacs", "m", "UP", within=5)


def test_every_probe_message_has_its_own_id(daemon_root: Path) -> None:
    talk = mllp.Receiver()
    with TcpPeer(talk) as peer:
        feed = service("hl7", 0, peer.port)
        feed["check"] = {**feed["check"], "interval": "300ms", "fast_interval": "300ms", "timeout": "300ms"}
        feed["check"] |= {"sending_application": "OUR.APP", "receiving_facility": "WARD", "message_type": "ADT:A01"}
        with asking(daemon_root, feed=feed) as daemon:
            assert verdict(daemon, "feed") == ("UP", "ok")
            wait_until(lambda: len(talk.messages) >= 3, within=10)
    fields = [message.split("\r")[0].split("|") for message in talk.messages]
    identities = [row[9] for row in fields]
    assert len(set(identities)) == len(identities)
    assert all(len(one) == 20 and one.startswith("ROTA") for one in identities)
    assert (fields[0][2], fields[0][5], fields[0][8]) == ("OUR.APP", "WARD", "ADT^A01")


def test_the_hl7_package_acknowledges(daemon_root: Path) -> None:
    with mllp.hl7_server() as (port, received), asking(daemon_root, feed=service("hl7", 0, port)) as daemon:
        assert verdict(daemon, "feed") == ("UP", "ok")
        assert received


@pytest.mark.parametrize("kind", ["dicom", "hl7", "http", "soap", "tls", "tcp"])
def test_nobody_listens(daemon_root: Path, kind: str) -> None:
    with asking(daemon_root, s=service(kind, 0, free_port())) as daemon:
        assert verdict(daemon, "s") == ("DOWN", "refused")


def test_tcp_asks_for_no_more_than_a_connection(daemon_root: Path) -> None:
    with TcpPeer(dicom.CASES["silent"].talk) as peer, asking(daemon_root, s=service("tcp", 0, peer.port)) as daemon:
        assert verdict(daemon, "s") == ("UP", "ok")


def test_tls(daemon_root: Path, tmp_path: Path) -> None:
    """A handshake with a server of the CA is up; plain text, an expired and a stranger's certificate are not."""
    ours, others = Authority(tmp_path / "pki"), Authority(tmp_path / "others", "Another CA")
    talk = dicom.CASES["silent"].talk
    with contextlib.ExitStack() as stack:
        ports = {
            "good": stack.enter_context(TcpPeer(talk, tls=server_context(ours.issue()))).port,
            "expired": stack.enter_context(TcpPeer(talk, tls=server_context(ours.issue("old", days=-1)))).port,
            "stranger": stack.enter_context(TcpPeer(talk, tls=server_context(others.issue()))).port,
            "plain": stack.enter_context(TcpPeer(dicom.CASES["http"].talk)).port,
        }
        tls = {"mode": "pass-through", "member_ca": "pki/ca.pem"}
        services = {
            name: service("tls", number, port, profile="dicom-tls", tls=tls)
            for number, (name, port) in enumerate(ports.items())
        }
        services["unverified"] = service("tls", 9, ports["stranger"])
        with asking(daemon_root, tmp_path, **services) as daemon:
            assert verdict(daemon, "good") == ("UP", "ok")
            assert verdict(daemon, "unverified") == ("UP", "ok")
            for name in ("expired", "stranger", "plain"):
                assert verdict(daemon, name) == ("DOWN", "tls"), name


def test_dicom_inside_tls(daemon_root: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    with TcpPeer(dicom.Scp(), tls=server_context(authority.issue())) as peer:
        tls = {"mode": "pass-through", "member_ca": "pki/ca.pem"}
        pacs = service("dicom", 0, peer.port, profile="dicom-tls", tls=tls)
        # (one port speaks plain or TLS: the model would refuse this under the profile dicom)
        plain = service("dicom", 1, peer.port, profile="tcp")
        plain["check"]["calling_ae"] = "ROTA"
        with asking(daemon_root, tmp_path, pacs=pacs, plain=plain) as daemon:
            assert verdict(daemon, "pacs") == ("UP", "ok")
            assert verdict(daemon, "plain")[0] == "DOWN"
