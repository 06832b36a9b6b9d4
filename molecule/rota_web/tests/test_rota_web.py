"""The app on a node that has neither HAProxy nor keepalived: who gets in, what it may touch, what it says without rotad."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import testinfra
from lib.lab import Host
from lib.poll import wait_until

NODE = Host("m-rota-web")
TOP = Path(__file__).parents[3]
PYTHON = "/opt/rota/current/bin/python"
BASE = "https://m-rota-web:8443"
TRUST = "/root/web-ca.crt"
# A browser without scripts. What it is asked is one JSON list of steps, what it saw one JSON list of answers.
BROWSER = """
import json, re, sys, requests
base, *steps = json.load(sys.stdin)
session, answers, page = requests.Session(), [], ""
session.verify = "/root/web-ca.crt"
for path, fields in steps:
    if fields is None:
        answer = session.get(base + path, timeout=20)
    else:
        token = re.search(r'name="csrf_token" value="([^"]+)"', page)
        fields["csrf_token"] = token[1] if token else ""
        answer = session.post(base + path, data=fields, headers={"Referer": base + "/"}, timeout=20)
    page = answer.text
    answers.append([answer.status_code, answer.url.removeprefix(base), page])
print(json.dumps(answers))
"""


@pytest.fixture(scope="module", autouse=True)
def trust():
    """What a person's computer would be given."""
    authority = (TOP / ".lab/certs/scenario/web/ca.crt").read_bytes()
    NODE.check("tee", TRUST, stdin=authority)


@pytest.fixture
def host() -> testinfra.host.Host:
    return testinfra.get_host(f"podman://{NODE.container}")


def surf(*steps: tuple[str, dict[str, str] | None], base: str = BASE) -> list[tuple[int, str, str]]:
    said = NODE.check(PYTHON, "-c", BROWSER, stdin=json.dumps([base, *steps]).encode())
    return [(status, path, page) for status, path, page in json.loads(said)]


def entered(*steps: tuple[str, dict[str, str] | None]) -> list[tuple[int, str, str]]:
    """Sign in with a one-time password, change it, and go on."""
    once = NODE.check("rota-web", "user", "reset", "anna").strip()
    new = "copper lantern orbit"
    found = surf(
        ("/sign-in", None),
        ("/sign-in", {"name": "anna", "password": once}),
        ("/password", {"old": once, "new": new, "again": new}),
        *steps,
    )
    assert [path for _, path, _ in found[:2]] == ["/sign-in", "/password"]
    return found[3:]


def test_it_runs_without_rights(host):
    assert host.service("rota-web").is_running
    assert host.service("rota-web").is_enabled
    pid = NODE.check("systemctl", "show", "--value", "--property=MainPID", "rota-web").strip()
    status = NODE.read(f"/proc/{pid}/status")
    uid = NODE.check("id", "-u", "rota-web").strip()
    assert re.search(rf"^Uid:\t{uid}\t{uid}\t{uid}\t{uid}$", status, re.M)
    assert re.search(r"^CapBnd:\t0+$", status, re.M)
    assert "NoNewPrivs:\t1" in status


def test_its_sandbox_is_tight():
    """systemd's own measure, 0 (tight) to 10: rota-web stays below 1.5."""
    said = NODE.check("systemd-analyze", "security", "--no-pager", "rota-web.service")
    score = re.search(r"Overall exposure level for rota-web.service: ([\d.]+)", said)
    assert score, said
    assert float(score[1]) < 1.5, said


@pytest.mark.parametrize("path", ["/etc/rota/control/node.key", "/etc/rota/rotad.toml", "/var/lib/rota/control"])
def test_what_is_the_control_daemons_is_closed_to_it(path):
    assert NODE.run("test", "-e", path).ok, "the test would prove nothing"
    assert not NODE.run("setpriv", "--reuid=rota-web", "--regid=rota-web", "--init-groups", "ls", "-l", f"{path}/").ok
    assert not NODE.run("setpriv", "--reuid=rota-web", "--regid=rota-web", "--init-groups", "cat", path).ok


def test_what_is_its_own_is_closed_to_others(host):
    for path, user, mode in (
        ("/var/lib/rota/web", "rota-web", 0o700),
        ("/var/lib/rota/web/people.db", "rota-web", 0o600),
        ("/var/lib/rota/web/session-key", "rota-web", 0o600),
        ("/etc/rota/web/web.key", "root", 0o640),
        ("/etc/rota/web.toml", "root", 0o640),
    ):
        assert (host.file(path).user, host.file(path).mode) == (user, mode), path


def test_its_authority_signs_nothing_for_the_control_daemons():
    """A web certificate that rotad took for a node's would let the app command the peer."""
    names = NODE.check(
        "openssl", "x509", "-in", "/etc/rota/web/web.crt", "-noout", "-issuer", "-ext", "extendedKeyUsage,subjectAltName"
    )
    assert "Rota web of" in names
    assert "TLS Web Client Authentication" not in names
    assert "DNS:lb1, IP Address:198.51.100.11" in names
    assert not NODE.run("openssl", "verify", "-CAfile", "/etc/rota/control/ca.crt", "/etc/rota/web/web.crt").ok


def test_the_first_administrator_signs_in_once_and_then_with_their_own_password():
    status, people = entered(("/api/v1/status", None), ("/people", None))
    assert json.loads(status[2])["node"] == "lb1"
    assert people[0] == 200
    assert "anna" in people[2]


def test_acts_and_sign_ins_are_in_the_journal():
    entered()
    events = [json.loads(line) for line in NODE.check("rota", "events", "--json").splitlines()]
    found = [(e["before"], e["after"], e["person"], e["reason"]) for e in events if e["kind"] == "audit"]
    assert ("person-added", "done", "root via rota-web", "from console: anna as administrator") in found
    for act, text in (("sign-in", "local, as administrator"), ("password", "changed their own")):
        reasons = {f"from {address}: {text}" for address in ("198.51.100.67", "2001:db8:51::67")}
        assert any(e[:3] == (act, "done", "anna via rota-web") and e[3] in reasons for e in found), act


def test_both_families_answer():
    for address in ("198.51.100.67", "[2001:db8:51::67]"):
        said = NODE.run(
            "openssl",
            "s_client",
            "-verify_return_error",
            "-CAfile",
            TRUST,
            "-connect",
            f"{address}:8443",
            stdin=b"Q\n",
        )
        assert "Verify return code: 0 (ok)" in said.out


@pytest.mark.parametrize(("version", "ok"), [("tls1_1", False), ("tls1_2", True), ("tls1_3", True)])
def test_old_tls_is_refused(version, ok):
    done = NODE.run(
        "openssl", "s_client", f"-{version}", "-cipher", "ALL:@SECLEVEL=0", "-connect", "m-rota-web:8443", stdin=b"Q\n"
    )
    assert ("Cipher is (NONE)" not in done.out and done.ok) is ok, done.out


def test_rotad_stopped_is_unknown_and_the_app_lives():
    NODE.systemctl("stop", "rota-control")
    try:
        health, ready = surf(("/healthz", None), ("/readyz", None))
        assert (health[0], ready[0]) == (200, 503)
        assert "rotad does not answer" in ready[2]
    finally:
        NODE.systemctl("start", "rota-control")
    wait_until(lambda: surf(("/readyz", None))[0][0] == 200, within=20)


def test_it_comes_back_by_itself_and_sessions_hold():
    NODE.systemctl("kill", "--signal=KILL", "rota-web")
    wait_until(lambda: NODE.active("rota-web"), within=20)
    wait_until(lambda: surf(("/healthz", None))[0][0] == 200, within=20)


def test_settings_that_it_refuses_change_nothing():
    before = NODE.read("/etc/rota/web.toml")
    command = [
        "ansible-playbook",
        "-i",
        "inventories/lab/hosts.yml",
        "-i",
        "molecule/hosts.yml",
        "molecule/rota_web/converge.yml",
    ]
    command += ["-e", json.dumps({"rota_web_ldap": {"host": "dc.example"}})]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, cwd=TOP)
    assert done.returncode != 0
    assert "the table [roles] is missing" in done.stdout or "ldap." in done.stdout, done.stdout
    assert NODE.read("/etc/rota/web.toml") == before
    assert NODE.active("rota-web")
