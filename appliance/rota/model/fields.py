"""The field types of the model: each says in words what is wrong with a value, and accepts its own output again."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d{1,10})(ms|s|m|h|d)")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_NODE_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_INTERFACE = re.compile(r"[A-Za-z0-9_.@-]{1,15}")
_COOKIE = re.compile(r"[A-Za-z0-9_-]{1,32}")

# haproxy's timers are signed 32-bit milliseconds: a little under 25 days
_LONGEST = 24 * _UNITS["d"]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _port(value: Any) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if not _is_int(value) or not 1 <= value <= 65535:
        raise ValueError(f"{value} is not a port (1–65535)")
    return int(value)


def _ip(value: Any) -> str:
    try:
        return str(ipaddress.ip_address(str(value).strip()))
    except ValueError:
        raise ValueError(f"{value} is not an IP address (names are not accepted: a node must not need DNS)") from None


def _network(value: Any) -> str:
    try:
        return str(ipaddress.ip_network(str(value).strip()))
    except ValueError as error:
        if "host bits" in str(error):
            wanted = ipaddress.ip_network(str(value).strip(), strict=False)
            raise ValueError(f"{value} is an address inside a network: the network is {wanted}") from None
        raise ValueError(f"{value} is not a network such as 198.51.100.0/24") from None


def _ae_title(value: Any) -> str:
    """An AE title (PS3.5 6.2, VR AE): at most 16 characters, no backslash, no control character."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is not an AE title (text of 1–16 characters)")
    title = value.strip()
    if len(title) > 16:
        raise ValueError(f"{title} is {len(title)} characters long: an AE title has at most 16")
    if not title.isascii() or not title.isprintable() or "\\" in title:
        raise ValueError(f"{title!r} has a character that an AE title may not have (ASCII, no backslash)")
    return title


def parse_duration(value: Any) -> int:
    """Milliseconds of a text such as `500ms`, `15s`, `30m`, `1h`, `1d`; ValueError says what is wrong."""
    text = str(value).strip()
    found = _DURATION.fullmatch(text)
    if isinstance(value, bool) or not found:
        raise ValueError(f"{value} is not a duration: a whole number with a unit (ms, s, m, h, d), such as 15s")
    length = int(found[1]) * _UNITS[found[2]]
    if length == 0:
        raise ValueError(f"{value} is no time at all: give at least 1ms")
    if length > _LONGEST:
        raise ValueError(f"{value} is longer than 24 days, the longest that HAProxy can count")
    return length


def format_duration(milliseconds: int) -> str:
    """The shortest exact text of a length: 15000 → `15s`."""
    for unit in ("d", "h", "m", "s"):
        if milliseconds % _UNITS[unit] == 0:
            return f"{milliseconds // _UNITS[unit]}{unit}"
    return f"{milliseconds}ms"


def _matching(pattern: re.Pattern[str], what: str) -> Any:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"{value!r} is not {what}")
        return value

    return BeforeValidator(check)


def _one_line(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 200:
        raise ValueError("is not one line of at most 200 printable characters")
    return value


def _relative_path(value: Any) -> str:
    if not isinstance(value, str) or not value or value.startswith("-") or any(not c.isprintable() for c in value):
        raise ValueError(f"{value!r} is not a file name")
    return value


def _url_path(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"/[!#-&(-\[\]-~]*", value):
        raise ValueError(f"{value!r} is not the path of a URL (it begins with / and has no space, quote or backslash)")
    return value


def _token(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_.:-]{1,180}", value):
        raise ValueError(f"{value!r} may only have letters, digits and . _ : -")
    return value


Port = Annotated[int, BeforeValidator(_port), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 65535})]
Ip = Annotated[
    str,
    BeforeValidator(_ip),
    WithJsonSchema({"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}),
]
Network = Annotated[
    str,
    BeforeValidator(_network),
    WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F:.]+(/[0-9]+)?$"}),
]
AeTitle = Annotated[str, BeforeValidator(_ae_title), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 16})]
Duration = Annotated[
    int,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"}),
]
Name = Annotated[
    str,
    _matching(_NAME, "a name (lower-case letters, digits and -, at most 32)"),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern}$"}),
]
NodeName = Annotated[
    str,
    _matching(_NODE_NAME, "a host name (lower-case letters, digits, - and .)"),
    WithJsonSchema({"type": "string", "pattern": f"^{_NODE_NAME.pattern}$"}),
]
Interface = Annotated[str, _matching(_INTERFACE, "the name of a network interface"), WithJsonSchema({"type": "string"})]
CookieName = Annotated[
    str, _matching(_COOKIE, "a cookie name (letters, digits, - and _)"), WithJsonSchema({"type": "string"})
]
Line = Annotated[str, BeforeValidator(_one_line), WithJsonSchema({"type": "string", "maxLength": 200})]
FileName = Annotated[str, BeforeValidator(_relative_path), WithJsonSchema({"type": "string"})]
UrlPath = Annotated[str, BeforeValidator(_url_path), WithJsonSchema({"type": "string", "pattern": "^/"})]
Token = Annotated[str, BeforeValidator(_token), WithJsonSchema({"type": "string"})]
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
Weight = Annotated[int, Field(strict=True, ge=0, le=256)]
VrrpId = Annotated[int, Field(strict=True, ge=1, le=255)]


def family(address: str) -> int:
    """4 or 6, for an address or a network."""
    return 6 if ":" in address else 4
