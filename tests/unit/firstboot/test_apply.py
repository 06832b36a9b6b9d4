"""Files and commands that settings mean."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from rota.firstboot import apply
from rota.firstboot.settings import parse

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFake admin@example"
WHOLE = parse(
    {"hostname": "lb1", "addresses": ["192.0.2.11/24", "2001:db8::11/64"], "gateway": "192.0.2.1", "resolvers": "192.0.2.53",
     "peer": "192.0.2.12", "ssh_key": KEY, "console_password": "once-only", "mirror": "https://mirror.example.org/"}, "test",
)  # fmt: skip


def test_the_files_of_a_whole_machine(tmp_path: Path) -> None:
    apply.write(tmp_path, apply.files(WHOLE, "ens3", "127.0.0.1 localhost\n192.0.2.9 archive\n10.0.0.1 lb1\n"))
    network = (tmp_path / apply.NETWORK).read_text()
    assert "Name=ens3\n" in network
    assert "Address=192.0.2.11/24\nAddress=2001:db8::11/64\nGateway=192.0.2.1\nIPv6AcceptRA=no\n" in network
    assert (tmp_path / "etc/hostname").read_text() == "lb1\n"
    hosts = (tmp_path / "etc/hosts").read_text().splitlines()
    assert hosts == ["127.0.0.1 localhost", "::1 localhost ip6-localhost", "192.0.2.11 lb1", "2001:db8::11 lb1",
                     "192.0.2.12 rota-peer", "192.0.2.9 archive"]  # fmt: skip
    assert (tmp_path / "etc/resolv.conf").read_text() == "nameserver 192.0.2.53\n"
    keys = tmp_path / "root/.ssh/authorized_keys"
    assert keys.read_text() == KEY + "\n"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (keys, keys.parent)] == [0o600, 0o700]
    assert (
        "URIs: https://mirror.example.org/debian-security\n"
        in (tmp_path / "etc/apt/sources.list.d/debian.sources").read_text()
    )


def test_no_password_and_no_key_is_kept_for_others_to_read() -> None:
    known = json.loads(apply.files(WHOLE, "ens3")[apply.KNOWN][0])
    assert known == {"hostname": "lb1", "interface": "", "addresses": ["192.0.2.11/24", "2001:db8::11/64"],
                     "gateways": ["192.0.2.1"], "peer": "192.0.2.12"}  # fmt: skip
    assert [name for name, (text, _) in apply.files(WHOLE, "ens3").items() if "once-only" in text] == []


def test_a_card_by_its_address() -> None:
    assert "MACAddress=52:54:00:00:00:01\n" in apply.network_file(WHOLE, "52:54:00:00:00:01")


def test_what_is_not_given_is_not_written() -> None:
    made = apply.files(parse({"hostname": "lb1"}, "test"), "ens3")
    assert set(made) == {"etc/hostname", "etc/hosts", apply.KNOWN}


def test_the_password_is_the_console_accounts_and_has_to_be_changed() -> None:
    """An expired password of root's would shut root's SSH key out as well."""
    commands = apply.commands(WHOLE)
    assert (["chpasswd"], "console:once-only\n") in commands
    assert (["chage", "-d", "0", "console"], "") in commands
    assert not any("root" in text for _, text in commands)
    assert all("once-only" not in " ".join(argv) for argv, _ in commands)


def test_a_password_that_is_a_hash_stays_one() -> None:
    commands = apply.commands(parse({"console_password": "$y$j9T$abc$def"}, "test"))
    assert (["chpasswd", "-e"], "console:$y$j9T$abc$def\n") in commands


def test_without_a_password_there_is_no_account() -> None:
    assert apply.commands(parse({"hostname": "lb1"}, "test")) == [(["hostname", "lb1"], "")]
