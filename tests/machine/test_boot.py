"""The image boots by itself, under BIOS and UEFI, is nobody before and somebody after its first boot, and stays bootable.

The tests of this file are steps of one story: they run in their order.
"""

from __future__ import annotations

import base64
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from machine.rig import ADDRESS, BOOT, GATEWAY, MAC, Machine, key, seed

TOP = Path(__file__).resolve().parents[2]
NETWORK = f"""version: 2
ethernets:
  leg:
    match: {{macaddress: "{MAC}"}}
    addresses: [{ADDRESS}/24]
    routes: [{{to: default, via: {GATEWAY}}}]
"""
FAILED = "systemctl --failed --no-legend --plain; systemctl is-system-running"
KERNELS = "ls /efi/rota | sort -V | tail -1"


def host_keys(machine: Machine) -> str:
    return machine.check("cat /etc/ssh/ssh_host_*_key.pub | sort")


@pytest.fixture(scope="module")
def first(machines: Callable[[str], Machine], folder: Path) -> Machine:
    """BIOS, told by a NoCloud seed who it is."""
    public = key(folder).with_suffix(".pub").read_text().strip()
    user = (
        f"#cloud-config\nhostname: lb1\nssh_authorized_keys: ['{public}']\npassword: once-only\nrota: {{peer: 10.0.2.16}}\n"
    )
    disk = seed(folder, {"user-data": user, "meta-data": "instance-id: lb1\n", "network-config": NETWORK})
    machine = machines("first")
    machine.power_on("bios", ["-drive", f"file={disk},format=raw,if=virtio,readonly=on"])
    machine.wait_booted()
    return machine


def test_bios_boots_with_no_failed_unit(first: Machine) -> None:
    assert first.check(FAILED) == "running"
    assert first.ssh("test -d /sys/firmware/efi").returncode == 1


def test_the_seed_says_who_it_is(first: Machine) -> None:
    assert first.check("hostname") == "lb1"
    assert f"{ADDRESS}/24" in first.check("ip -brief address")
    assert f"default via {GATEWAY}" in first.check("ip route")
    assert first.check("getent hosts rota-peer").split()[0] == "10.0.2.16"


def test_root_has_no_password_and_the_consoles_has_to_be_changed(first: Machine) -> None:
    assert first.check("passwd -S root").split()[1] == "L"
    assert "password must be changed" in first.check("chage -l console")
    assert first.ssh("test -e /etc/rota/control/node.key").returncode == 1


def test_the_root_file_system_has_taken_the_disk(first: Machine) -> None:
    size = int(first.check("df --output=size -B1M / | tail -1"))
    assert size > 5000, "the disk has 6 GiB, the image's file system had less than 2"


@pytest.fixture(scope="module")
def kernel(folder: Path) -> Path:
    """Another kernel of Debian's, as a package; it sorts after the image's own."""
    sys.path.insert(0, str(TOP / "roles/lab/files"))
    build_debs = importlib.import_module("build_debs")  # found through the line above
    folder.joinpath("apt").mkdir()
    (deb,) = build_debs.download(
        ["linux-image-cloud-amd64"], TOP / "build/image/tree/var/lib/dpkg/status", folder / "apt"
    ).glob("linux-image-*-cloud-amd64_*.deb")
    return Path(deb)


def test_a_new_kernel_is_booted_by_both_loaders(first: Machine, kernel: Path) -> None:
    new = kernel.name.partition("_")[0].removeprefix("linux-image-")
    first.check("cat >/root/kernel.deb", stdin=kernel)
    first.check("dpkg --install /root/kernel.deb && rm /root/kernel.deb", timeout=2 * BOOT)
    assert first.check(KERNELS) == new
    first.power_off()
    first.power_on("uefi")
    first.wait_booted()
    assert first.check("test -d /sys/firmware/efi && echo uefi") == "uefi"
    assert first.check("uname -r") == new
    assert first.check(FAILED) == "running"
    first.power_off()
    first.power_on("bios")
    first.wait_booted()
    assert first.ssh("test -d /sys/firmware/efi").returncode == 1
    assert first.check("uname -r") == new
    assert first.check(FAILED) == "running"


@pytest.fixture(scope="module")
def second(machines: Callable[[str], Machine], folder: Path) -> Machine:
    """UEFI, with a credential whose address is the gateway's: it must not be taken, and the wizard asks."""
    document = json.dumps({"hostname": "lb2", "address": f"{GATEWAY}/24"})
    told = base64.b64encode(document.encode()).decode()
    machine = machines("second")
    machine.power_on("uefi", ["-smbios", f"type=11,value=io.systemd.credential.binary:rota.settings={told}"])
    return machine


def test_an_address_in_use_is_not_taken_and_the_wizard_is_asked_instead(second: Machine, folder: Path) -> None:
    second.waits_for(f"the address {GATEWAY} is in use by ")
    public = key(folder).with_suffix(".pub").read_text().strip()
    answers = [
        ("Name of this node", "lb2"),
        ("Network card", ""),
        ("Address with prefix length", f"{ADDRESS}/24"),
        ("Gateway", GATEWAY),
        ("Name servers", ""),
        ("Address of the other node", "10.0.2.15"),
        ("! the peer 10.0.2.15 is this machine's own address", "10.0.2.16"),
        ("Public SSH key", public),
        ("One-time password", ""),
        ("Take this?", "yes"),
    ]
    for question, answer in answers:
        second.waits_for(question)
        second.types(answer)
    second.waits_for("Done. This is lb2")
    second.wait_booted()
    assert second.check(FAILED) == "running"
    assert second.check("hostname") == "lb2"
    assert f"{GATEWAY}/" not in second.check("ip -brief address")


def test_two_machines_share_no_key_and_no_id(first: Machine, second: Machine) -> None:
    assert set(host_keys(first).splitlines()).isdisjoint(host_keys(second).splitlines())
    ids = [machine.check("cat /etc/machine-id") for machine in (first, second)]
    assert len(set(ids)) == 2
    assert all(len(one) == 32 for one in ids)
