"""Each source in its own words: credentials, NoCloud seeds, VMware's guestinfo."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rota.firstboot import sources
from rota.firstboot.settings import Settings, SettingsError

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFake admin@example"
USER = f"#cloud-config\nhostname: lb1\nssh_authorized_keys: ['{KEY}']\npassword: once-only\nchpasswd: {{expire: true}}\n"
V2 = """
version: 2
ethernets:
  any:
    match: {macaddress: "52:54:00:00:00:01"}
    addresses: [192.0.2.11/24, "2001:db8::11/64"]
    routes: [{to: default, via: 192.0.2.1}]
    nameservers: {addresses: [192.0.2.53]}
"""
V1 = """
network:
  version: 1
  config:
    - {type: loopback, name: lo}
    - type: physical
      name: ens3
      subnets: [{type: static, address: 192.0.2.11/24, gateway: 192.0.2.1, dns_nameservers: [192.0.2.53]}]
"""


def test_a_credential(tmp_path: Path) -> None:
    (tmp_path / "rota.settings").write_text('{"hostname": "lb2", "address": "192.0.2.12/24"}')
    settings = sources.from_credentials(tmp_path)
    assert settings is not None
    assert (settings.hostname, str(settings.addresses[0])) == ("lb2", "192.0.2.12/24")


def test_no_credential(tmp_path: Path) -> None:
    assert sources.from_credentials(None) is None
    assert sources.from_credentials(tmp_path) is None


def test_a_credential_that_is_no_yaml(tmp_path: Path) -> None:
    (tmp_path / "rota.settings").write_text("hostname: lb2\naddress: [192.0.2.1\n")
    with pytest.raises(SettingsError, match=r"^credential rota.settings: this is no YAML, see line 3$"):
        sources.from_credentials(tmp_path)


@pytest.mark.parametrize(
    ("network", "interface"),
    [(V2, "52:54:00:00:00:01"), (V1, "ens3"), (f"network: {V2}".replace("\n", "\n  "), "52:54:00:00:00:01")],
)
def test_a_seed(network: str, interface: str) -> None:
    files = {"user-data": USER, "meta-data": "instance-id: x\n", "network-config": network}
    settings = sources.from_seed(files.get, "seed")
    assert settings is not None
    assert settings.hostname == "lb1"
    assert settings.ssh_keys == (KEY,)
    assert settings.console_password == "once-only"  # noqa: S105 (a word of this test)
    assert settings.interface == interface
    assert str(settings.addresses[0]) == "192.0.2.11/24"
    assert [str(one) for one in settings.gateways] == ["192.0.2.1"]
    assert [str(one) for one in settings.resolvers] == ["192.0.2.53"]


def test_what_stands_under_rota_wins() -> None:
    files = {"user-data": USER + "rota: {peer: 192.0.2.12, hostname: lb9}\n", "network-config": V2}
    settings = sources.from_seed(files.get, "seed")
    assert settings is not None
    assert (settings.hostname, str(settings.peer)) == ("lb9", "192.0.2.12")


def test_a_seed_without_any_of_its_files_is_none() -> None:
    assert sources.from_seed({}.get, "seed") is None


def test_a_seed_of_another_version() -> None:
    with pytest.raises(SettingsError, match="seed network-config: version: 1 and 2 are known"):
        sources.from_seed({"user-data": USER, "network-config": "version: 3\n"}.get, "seed")


def vmware(values: dict[str, str], kind: str = "vmware") -> Any:
    def run(command: Sequence[str]) -> str | None:
        if command[0] == "systemd-detect-virt":
            return f"{kind}\n"
        return values.get(command[1].removeprefix("info-get guestinfo."))

    return run


@pytest.mark.parametrize("encoding", ["", "base64", "gzip+base64"])
def test_guestinfo(encoding: str) -> None:
    plain = USER.encode()
    packed = {"": plain, "base64": base64.b64encode(plain), "gzip+base64": base64.b64encode(gzip.compress(plain))}[encoding]
    meta = f"local-hostname: other\nnetwork: {V2}".replace("\n", "\n  ").replace("\n  network", "\nnetwork")
    run = vmware({"userdata": packed.decode(), "userdata.encoding": encoding, "metadata": meta})
    settings = sources.from_vmware(run)
    assert settings is not None
    assert settings.hostname == "lb1"
    assert str(settings.addresses[1]) == "2001:db8::11/64"


def test_guestinfo_that_is_not_what_it_says() -> None:
    with pytest.raises(SettingsError, match="guestinfo.userdata: it is not base64"):
        sources.from_vmware(vmware({"userdata": "é", "userdata.encoding": "base64"}))


def test_another_hypervisor_is_not_asked() -> None:
    assert sources.from_vmware(vmware({"userdata": USER}, kind="kvm")) is None


def test_a_seed_disk_that_cannot_be_read() -> None:
    def run(command: Sequence[str]) -> str | None:
        return "/dev/vdb\n" if command[0] == "blkid" else None

    with pytest.raises(SettingsError, match="the seed /dev/vdb .label cidata. cannot be read: it is damaged"):
        sources.from_disks(run)


def test_no_seed_disk() -> None:
    assert sources.from_disks(lambda command: None) is None


def test_a_program_that_is_not_there() -> None:
    assert sources.run(["/nonexistent"]) is None
    assert sources.run(["false"]) is None
    assert sources.run(["echo", "yes"]) == "yes\n"


def test_settings_have_defaults() -> None:
    assert Settings().hostname == "rota"
