"""What role haproxy leaves behind on a node in front of the lab's servers, and what it does when something breaks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lib.lab import Host
from lib.poll import wait_until

NODE = Host("m-haproxy")
TOOL = "/usr/local/lib/rota/haproxy"
TRACK = "/run/rota/track/haproxy"
SERVICE = "198.51.100.100"

# An A-ASSOCIATE-RQ that offers Verification, called and calling AE to be filled in; prints the type of the answer, and of
# a rejection its three numbers.
CALL = """
import socket, struct, sys
def item(kind, body): return struct.pack(">BBH", kind, 0, len(body)) + body
address, port, called, calling = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
context = item(0x20, b"\\x01\\0\\0\\0" + item(0x30, b"1.2.840.10008.1.1") + item(0x40, b"1.2.840.10008.1.2"))
user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"2.25.1"))
body = b"\\0\\x01\\0\\0" + called.encode().ljust(16) + calling.encode().ljust(16) + bytes(32)
body += item(0x10, b"1.2.840.10008.3.1.1.1") + context + user
with socket.create_connection((address, port), 5) as sock:
    sock.sendall(b"\\x01\\0" + struct.pack(">L", len(body)) + body)
    answer = sock.recv(10)
    print(answer[0], *answer[7:10] if answer[0] == 3 else "")
"""


def call(port: int, called: str = "PACS_A", calling: str = "CT1") -> str:
    return NODE.check("python3", "-c", CALL, SERVICE, str(port), called, calling).strip()


def state() -> dict[tuple[str, str], str]:
    rows = NODE.check("sh", "-c", "echo 'show stat' | socat - /run/haproxy/admin.sock").splitlines()
    head = rows[0].removeprefix("# ").split(",")
    table = [dict(zip(head, row.split(","), strict=False)) for row in rows[1:] if row]
    return {(row["pxname"], row["svname"]): row["status"] for row in table}


def main_pid() -> str:
    return NODE.check("systemctl", "show", "--property=MainPID", "--value", "haproxy.service").strip()


@pytest.fixture(autouse=True, scope="module")
def address() -> Iterator[None]:
    """The service addresses on the node's own loopback: here it is asked from within, and nobody else sees it."""
    held = [f"198.51.100.{number}/32" for number in (100, 101, 102, 103)]
    for one in held:
        NODE.check("ip", "address", "replace", one, "dev", "lo")
    yield
    for one in held:
        NODE.run("ip", "address", "del", one, "dev", "lo")


@pytest.fixture(autouse=True)
def at_work() -> None:
    wait_until(lambda: NODE.run("curl", "-sf", "http://127.0.0.1:8404/healthz").ok, within=10, what="HAProxy answers")


def test_it_runs_with_no_failed_unit():
    assert NODE.check("systemctl", "is-enabled", "haproxy.service", "rota-transparent.service").split() == ["enabled"] * 2
    assert NODE.check("systemctl", "--failed", "--no-legend").strip() == ""
    assert NODE.read(TRACK).strip() == "0"


def test_members_are_asked_and_up():
    wait_until(lambda: state()["pacs", "pacs-a"] == "UP", within=20)
    wait_until(lambda: state()["registry", "xds-b"] == "UP", within=20)


def test_the_worker_is_nobody_special():
    workers = NODE.check("pgrep", "--parent", main_pid()).split()
    status = NODE.read(f"/proc/{workers[-1]}/status")
    assert "Uid:\t0" not in status
    assert "CapEff:\t0000000000000000" in status
    assert NODE.check("readlink", f"/proc/{workers[-1]}/root").strip() == "/var/lib/haproxy"


def test_keys_are_for_haproxy_only():
    listed = NODE.check("stat", "-c", "%a %U %G", "/etc/haproxy/certs/viewer-offload.certificate.pem").strip()
    assert listed == "640 root haproxy"
    assert NODE.check("stat", "-c", "%a", "/etc/haproxy/previous").strip() == "700"


def test_associations_are_carried_and_logged():
    wait_until(lambda: state()["pacs", "pacs-a"] == "UP", within=20)
    assert call(104, calling="MOLECULE") == "2"
    line = wait_until(
        lambda: NODE.run("journalctl", "-u", "haproxy", "-o", "cat", "--grep", 'calling="MOLECULE"').out.strip(), within=5
    )
    assert line.startswith("kind=dicom service=pacs client=198.51.100.100 ")
    assert 'called="PACS_A" verdict=accepted member=pacs-' in line


def test_a_stranger_is_rejected_as_the_standard_says():
    wait_until(lambda: state()["pacs-ae", "pacs-a"] == "UP", within=20)
    assert call(11112, calling="CT1") == "2"
    assert call(11112, calling="STRANGER") == "3 1 1 3"
    assert call(11112, called="NOBODY") == "3 1 1 7"


def test_pages_are_served_inside_tls():
    wait_until(lambda: state()["viewer-offload", "pacs-a"] == "UP", within=20)
    code = NODE.check(
        "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "https://198.51.100.103:8443/app/explorer.html"
    )
    assert code in ("200", "302")


def test_a_reload_keeps_drains():
    NODE.check("sh", "-c", "echo 'set server pacs/pacs-b state drain' | socat - /run/haproxy/admin.sock")
    before = NODE.check("pgrep", "--parent", main_pid()).split()
    NODE.check("systemctl", "reload", "haproxy.service", timeout=90)
    wait_until(lambda: set(NODE.check("pgrep", "--parent", main_pid()).split()) - set(before), within=10)
    assert state()["pacs", "pacs-b"].startswith("DRAIN")
    NODE.check("systemctl", "restart", "haproxy.service")
    assert state()["pacs", "pacs-b"].startswith("DRAIN"), "a planned restart keeps it too"
    NODE.check("sh", "-c", "echo 'set server pacs/pacs-b state ready' | socat - /run/haproxy/admin.sock")
    wait_until(lambda: state()["pacs", "pacs-b"] == "UP", within=20)


@pytest.mark.parametrize("victim", ["master", "worker"])
def test_its_death_is_told_at_once_and_mended(victim):
    pid = main_pid() if victim == "master" else NODE.check("pgrep", "--parent", main_pid()).split()[-1]
    # how long the word is out: the file is looked at every millisecond while the process dies
    script = f'kill -9 {pid}; for i in $(seq 2000); do [ "$(cat {TRACK})" = -1 ] && echo told && exit; sleep 0.001; done'
    assert NODE.check("bash", "-c", script).strip() == "told"
    wait_until(lambda: NODE.read(TRACK).strip() == "0", within=10, what="it is back")
    assert NODE.check("systemctl", "is-active", "haproxy.service").strip() == "active"


def test_a_stop_is_told_before_it_happens():
    NODE.check("systemctl", "stop", "haproxy.service")
    try:
        assert NODE.read(TRACK).strip() == "-1"
    finally:
        NODE.check("systemctl", "start", "haproxy.service")
    assert NODE.read(TRACK).strip() == "0"


@pytest.fixture
def staged() -> Iterator[str]:
    """The staged configuration; put back as it was."""
    NODE.check("cp", "-a", "/etc/haproxy/staged", "/root/staged")
    yield "/etc/haproxy/staged/haproxy.cfg"
    NODE.check("sh", "-c", "rm -rf /etc/haproxy/staged && mv /root/staged /etc/haproxy/staged")
    assert NODE.run(TOOL, "activate").ok
    assert NODE.check(TOOL, "activate").strip() == "unchanged"


def test_what_haproxy_refuses_replaces_nothing(staged):
    before = NODE.read("/etc/haproxy/haproxy.cfg")
    NODE.check("sh", "-c", f"echo nonsense >> {staged}; echo x > /etc/haproxy/staged/maps/called-ae.map")
    assert NODE.check(TOOL, "activate", "--check").strip() == "differs"
    result = NODE.run(TOOL, "activate")
    assert result.code == 1
    assert "haproxy refuses the new configuration, nothing was replaced" in result.err
    assert "nonsense" in result.err
    assert "Traceback" not in result.err
    assert NODE.read("/etc/haproxy/haproxy.cfg") == before
    assert NODE.read("/etc/haproxy/maps/called-ae.map") != "x\n"


def test_what_does_not_start_is_rolled_back(staged):
    """Its text is right, but a port is taken: only the reload itself finds out."""
    before = NODE.read("/etc/haproxy/haproxy.cfg")
    NODE.check("systemd-run", "--unit=squatter", "python3", "-m", "http.server", "7777")
    try:
        wait_until(lambda: NODE.run("curl", "-sf", "http://127.0.0.1:7777/").ok, within=10)
        addition = "listen more\\n bind 0.0.0.0:7777\\n timeout client 1s\\n timeout server 1s\\n timeout connect 1s\\n"
        NODE.check("sh", "-c", f"printf '{addition}' >> {staged}")
        NODE.check("haproxy", "-c", "-f", staged)
        result = NODE.run(TOOL, "activate")
    finally:
        NODE.run("systemctl", "stop", "squatter")
    assert result.code == 1
    assert "haproxy did not take the new configuration" in result.err
    assert "The old configuration is back in use." in result.err
    assert NODE.read("/etc/haproxy/haproxy.cfg") == before
    wait_until(lambda: state()["pacs", "pacs-a"] == "UP", within=20)
    assert call(104) == "2"


def test_what_is_named_no_more_is_removed(staged):
    """A key of a service that is gone must not stay behind."""
    key = "certs/viewer-offload.certificate.pem"
    # the viewer's offload and what follows it is gone, but for the table of associations; and so is its key
    last = "/^backend rota.associations/"
    cut = f"sed -i '/^frontend viewer-offload/,{last}{{{last}!d}}' {staged}"
    script = f"{cut}; sed -i '\\#{key}#d' /etc/haproxy/staged/manifest"
    NODE.check("sh", "-c", script)
    assert NODE.check(TOOL, "activate").strip() == "activated"
    for folder in ("/etc/haproxy", "/etc/haproxy/staged"):
        assert not NODE.run("test", "-e", f"{folder}/{key}").ok
    assert ("viewer-offload", "FRONTEND") not in state()
    assert ("pacs", "FRONTEND") in state()


def test_usage_is_help_and_no_traceback():
    assert "Usage:" in NODE.check(TOOL, "--help")
    result = NODE.run(TOOL, "nonsense")
    assert result.code == 1
    assert "Usage:" in result.out
