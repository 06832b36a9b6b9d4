"""What a machine is told at its first boot: taken as it is meant, or refused in one line that names the key."""

from __future__ import annotations

from typing import Any

import pytest
from rota.firstboot.settings import SettingsError, parse

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFake admin@example"


def test_the_settings_of_a_node() -> None:
    settings = parse(
        {
            "hostname": "LB1.example.org",
            "address": "192.0.2.11/24",
            "gateway": "192.0.2.1",
            "peer": "192.0.2.12",
            "ssh_key": KEY,
        },
        "test",
    )
    assert settings.hostname == "lb1"
    assert [str(one) for one in settings.addresses] == ["192.0.2.11/24"]
    assert str(settings.peer) == "192.0.2.12"
    assert settings.ssh_keys == (KEY,)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"address": "192.0.2.11"}, "addresses: 192.0.2.11 has no prefix length: write it as 192.0.2.11/24"),
        ({"address": "192.0.2.0/24"}, "192.0.2.0 is the address of the network 192.0.2.0/24 itself, not of a machine in it"),
        ({"address": "192.0.2.255/24"}, "192.0.2.255 is the address of the network 192.0.2.0/24 itself, not of a machine in it"),
        ({"address": "192.0.2.11/24", "gateway": "198.51.100.1"}, "the gateway 198.51.100.1 is in none of the networks of 192.0.2.11/24"),
        ({"address": "192.0.2.11/24", "gateway": "192.0.2.11"}, "the gateway 192.0.2.11 is this machine's own address"),
        ({"address": "192.0.2.11/24", "peer": "192.0.2.11"}, "the peer 192.0.2.11 is this machine's own address"),
        ({"hostname": "lb_1"}, "hostname: 'lb_1' is no host name: letters, digits and hyphens"),
        ({"interface": "eth0\n[Network]"}, "is neither the name of an interface nor a MAC address"),
        ({"ssh_key": "AAAA"}, "ssh_keys: 'AAAA' is no public SSH key: one line that begins with ssh-ed25519 or the like"),
        ({"ssh_key": KEY + "\nssh-rsa AAAA x"}, "is no public SSH key"),
        ({"console_password": "short"}, "console_password: a console password has 8 characters or more"),
        ({"console_password": "long enough\nroot:x"}, "console_password: a console password has no colon and no line break"),
        ({"mirror": "file:/x"}, "mirror: 'file:/x' is no mirror: it begins with http:// or https://"),
        ({"adress": "192.0.2.11/24"}, "adress: there is no such key; known are hostname"),
        ([], "settings are keys with values"),
    ],
)  # fmt: skip
def test_what_is_refused(document: Any, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse(document, "seed")
    assert str(refused.value).startswith("seed: ")
    assert said in str(refused.value)
