"""What a machine has to be told at its first boot; every source is turned into this, and judged here."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

KEY_TYPES = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-", "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-")
HOSTNAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")  # RFC 1123, 2.1
INTERFACE = re.compile(r"^([0-9a-f]{2}(:[0-9a-f]{2}){5}|[a-zA-Z0-9_.-]{1,15})$")


class Settings(BaseModel):
    """The settings of one machine. Unset is: not touched, and for `interface` the first network card."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hostname: str = "rota"
    interface: str = ""  # name or MAC address
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    gateways: tuple[IPv4Address | IPv6Address, ...] = ()
    resolvers: tuple[IPv4Address | IPv6Address, ...] = ()
    peer: IPv4Address | IPv6Address | None = None
    ssh_keys: tuple[str, ...] = ()
    console_password: str = ""  # plain, or a hash of crypt(5)
    mirror: str = ""  # where Debian packages come from

    @field_validator("addresses", "gateways", "resolvers", "ssh_keys", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("hostname")
    @classmethod
    def _hostname(cls, value: str) -> str:
        name = value.lower().partition(".")[0]
        if not HOSTNAME.match(name):
            raise ValueError(f"{value!r} is no host name: letters, digits and hyphens")
        return name

    @field_validator("interface")
    @classmethod
    def _interface(cls, value: str) -> str:
        if value and not INTERFACE.match(value.lower() if ":" in value else value):
            raise ValueError(f"{value!r} is neither the name of an interface nor a MAC address")
        return value.lower() if ":" in value else value

    @field_validator("addresses", mode="before")
    @classmethod
    def _with_prefix(cls, value: Any) -> Any:
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, str) and "/" not in one:
                raise ValueError(f"{one} has no prefix length: write it as {one}/24")
        return value

    @field_validator("ssh_keys")
    @classmethod
    def _keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for key in value:
            words = key.split()
            if len(words) < 2 or not words[0].startswith(KEY_TYPES) or "\n" in key.strip():
                raise ValueError(f"{key[:40]!r} is no public SSH key: one line that begins with ssh-ed25519 or the like")
        return tuple(key.strip() for key in value)

    @field_validator("console_password")
    @classmethod
    def _password(cls, value: str) -> str:
        if value and not value.startswith("$") and len(value) < 8:
            raise ValueError("a console password has 8 characters or more")
        if re.search(r"[:\n\0]", value):
            raise ValueError("a console password has no colon and no line break")
        return value

    @field_validator("mirror")
    @classmethod
    def _mirror(cls, value: str) -> str:
        if value and not re.match(r"^https?://[^\s]+$", value):
            raise ValueError(f"{value!r} is no mirror: it begins with http:// or https://")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _together(self) -> Settings:
        own = [one.ip for one in self.addresses]
        for one in self.addresses:
            network = one.network
            if (
                one.version == 4
                and network.prefixlen < 31
                and one.ip in (network.network_address, network.broadcast_address)
            ):
                raise ValueError(f"{one.ip} is the address of the network {network} itself, not of a machine in it")
        for gateway in self.gateways:
            if not any(gateway in one.network for one in self.addresses) and not gateway.is_link_local:
                raise ValueError(
                    f"the gateway {gateway} is in none of the networks of {', '.join(map(str, self.addresses))}"
                )
            if gateway in own:
                raise ValueError(f"the gateway {gateway} is this machine's own address")
        if self.peer is not None and self.peer in own:
            raise ValueError(f"the peer {self.peer} is this machine's own address")
        return self


class SettingsError(ValueError):
    """Why settings are refused: one line. `reason` is the part that does not say where they came from."""

    def __init__(self, text: str, reason: str = "") -> None:
        super().__init__(text)
        self.reason = reason or text


def parse(document: Any, source: str) -> Settings:
    """Judge `document`; SettingsError names `source`, the key and what is wrong with it."""
    if not isinstance(document, dict):
        raise SettingsError(f"{source}: settings are keys with values, such as address: 192.0.2.11/24")
    renamed = {{"address": "addresses", "gateway": "gateways", "ssh_key": "ssh_keys"}.get(key, key): value
               for key, value in document.items()}  # fmt: skip
    try:
        return Settings.model_validate(renamed)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][:1])
        said = str(first["ctx"]["error"]) if "error" in first.get("ctx", {}) else first["msg"]
        if first["type"] == "extra_forbidden":
            said = f"there is no such key; known are {', '.join(Settings.model_fields)}"
        raise SettingsError(f"{source}: {where + ': ' if where else ''}{said}", said) from None
