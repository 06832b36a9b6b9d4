"""The rota command on a node that had nothing, and what is left when an installation fails."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import pytest
import testinfra
from lib.inspected import inspected
from lib.lab import Host

NODE = Host("m-rota")
TOP = Path(__file__).parents[3]
WHEELHOUSE = TOP / "dist/wheelhouse/rota-wheelhouse.tar"


@pytest.fixture
def host() -> testinfra.host.Host:
    return inspected(NODE)


def apply(**variables: object) -> subprocess.CompletedProcess[str]:
    """Converge again with other variables."""
    command = ["ansible-playbook", "-i", "inventories/lab/hosts.yml", "-i", "molecule/hosts.yml"]
    command += ["molecule/rota/converge.yml", "-e", json.dumps(variables)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, cwd=TOP)


def test_the_command_asks_a_real_server():
    """By effect: a check of a DICOM server, which needs every dependency, from the pinned wheels alone."""
    said = json.loads(NODE.check("rota", "check", "dicom", "198.51.100.21:4242", "--called", "PACS_A", "--json"))
    assert said["verdict"] == "up"
    said = json.loads(NODE.check("rota", "check", "member", "registry", "xds-b", "--json"))
    assert said["verdict"] == "up"


def test_any_account_may_run_it():
    """keepalived runs checks as an account of its own, which cannot write caches."""
    NODE.check("runuser", "-u", "nobody", "--", "/opt/rota/bin/rota", "check", "tcp", "198.51.100.21:4242")


def test_the_command_is_on_the_path(host):
    assert host.file("/usr/local/bin/rota").linked_to.startswith("/opt/rota/venvs/")
    assert host.user("rota").shell == "/usr/sbin/nologin"


def test_nobody_but_root_can_change_it():
    assert NODE.check("find", "-L", "/opt/rota/bin", "-perm", "/022", "-o", "!", "-user", "root") == ""


def test_the_model_is_there_and_sound(host):
    assert host.file("/etc/rota/site.json").mode == 0o644
    NODE.check("rota", "validate", "/etc/rota/site.json")
    assert "pacs" in json.loads(NODE.read("/etc/rota/site.json"))["services"]


def broken(tmp_path: Path, leave_out: str) -> Path:
    """The wheelhouse without one of its files."""
    path = tmp_path / "broken.tar"
    with tarfile.open(WHEELHOUSE) as good, tarfile.open(path, "w") as bad:
        for member in good.getmembers():
            if not member.name.startswith(leave_out):
                bad.addfile(member, good.extractfile(member))
    return path


def test_a_failed_installation_leaves_the_old_one(tmp_path):
    before = NODE.check("readlink", "/opt/rota/current")
    done = apply(rota_wheelhouse=str(broken(tmp_path, "pydicom")))
    assert done.returncode != 0
    assert "pydicom" in done.stdout
    assert NODE.check("readlink", "/opt/rota/current") == before
    NODE.check("rota", "check", "--help")
    assert NODE.run("ls", "-d", "/var/lib/rota/wheels.*").out == ""
    assert apply().returncode == 0
    assert len(NODE.check("ls", "/opt/rota/venvs").split()) == 1, "the unfinished one is gone"


def test_a_changed_wheel_is_refused(tmp_path):
    """The hashes are checked on the node, where it matters."""
    path = tmp_path / "changed.tar"
    wheel = tmp_path / "wheel"
    with tarfile.open(WHEELHOUSE) as good, tarfile.open(path, "w") as bad:
        for member in good.getmembers():
            source = good.extractfile(member)
            assert source is not None
            wheel.write_bytes(source.read() + (b"x" if member.name.startswith("typer-") else b""))
            bad.add(wheel, arcname=member.name)
    done = apply(rota_wheelhouse=str(path))
    assert done.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stdout
    assert apply().returncode == 0
