"""Deep checks that contradict themselves or their service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rota.model.deep import DEFAULTS, KEYS, NEEDED, DeepCheck, DeepKind, Effect
from rota.model.fields import format_duration
from rota.model.problems import Problem

if TYPE_CHECKING:
    from rota.model.schema import Service

Found = Iterator[Problem]
_SECOND = 1000


def deep(path: str, service: Service) -> Found:
    """Problems of the deep checks of one service."""
    seen: dict[str, int] = {}
    for index, check in enumerate(service.deep):
        where = f"{path}.deep[{index}]"
        if check.name in seen:
            yield Problem(f"{where}.name", f"{check.name} is already deep check {seen[check.name]}: give each its own name")
        seen.setdefault(check.name, index)
        yield from _keys(where, check)
        yield from _pace(where, check)
        yield from _values(where, check)
        yield from _service(where, check, service)


def _keys(where: str, check: DeepCheck) -> Found:
    for key in sorted(set().union(*KEYS.values()) - KEYS[check.kind]):
        if getattr(check, key) is not None:
            yield Problem(f"{where}.{key}", f"has no meaning for a {check.kind} check")
    for key, why in NEEDED.get(check.kind, ()):
        if getattr(check, key) is None:
            yield Problem(f"{where}.{key}", f"is missing: {why}")


def _pace(where: str, check: DeepCheck) -> Found:
    if check.interval < 10 * _SECOND:
        text = f"{format_duration(check.interval)} is quicker than 10s: a deep check costs the member work"
        yield Problem(f"{where}.interval", text)
    if check.retry > check.interval:
        yield Problem(f"{where}.retry", f"{format_duration(check.retry)} is slower than the interval")
    if check.retry < _SECOND:
        yield Problem(f"{where}.retry", f"{format_duration(check.retry)} is quicker than 1s")
    if check.timeout > check.interval:
        text = f"{format_duration(check.timeout)} is longer than the interval {format_duration(check.interval)}"
        yield Problem(f"{where}.timeout", text)


def _values(where: str, check: DeepCheck) -> Found:
    if check.status is not None and not re.fullmatch(r"[1-5]\d\d(-[1-5]\d\d)?", check.status):
        yield Problem(f"{where}.status", f"{check.status} is neither a status nor a range such as 200-399")
    if check.argv is not None and not (check.argv and check.argv[0].startswith("/")):
        yield Problem(f"{where}.argv", "must begin with the whole path of a program")
    if check.tls and check.start_tls:
        yield Problem(f"{where}.start_tls", "contradicts tls: that port speaks TLS from the first byte on")
    paths = [*((f"{where}.json_values", p) for p in check.json_values or {}), (f"{where}.field", check.field or "$")]
    for place, text in paths:
        if not text.startswith("$"):
            yield Problem(place, f"{text} is not a JSONPath (it begins with $)")
    if check.kind is DeepKind.STORAGE and check.field is not None and check.path is None:
        yield Problem(f"{where}.path", "is missing: the field is in the answer of a URL")
    if check.kind is DeepKind.CERTIFICATE and check.effect is Effect.OUT:
        text = "out takes a member away while its certificate is still valid; warn would only raise the alarm"
        yield Problem(f"{where}.effect", text, warning=True)


def _service(where: str, check: DeepCheck, service: Service) -> Found:
    if check.kind.is_dicom:
        if not service.profile.is_dicom:
            yield Problem(f"{where}.kind", f"{check.kind} needs a DICOM service")
        for name in service.members:
            if check.called_ae is None and service.called_ae_of(name) is None:
                yield Problem(f"{where}.called_ae", f"is missing: member {name} has none either")
    if check.port is not None or "port" in DEFAULTS[check.kind]:
        return
    if check.kind is DeepKind.STORAGE and check.path is None:
        yield Problem(f"{where}.port", "is missing: a file agent has a port of its own (or give a path)")
    elif check.kind.is_web and not service.profile.is_http:
        yield Problem(f"{where}.port", "is missing: the service's own port does not speak HTTP")
    elif check.kind is DeepKind.CERTIFICATE and not service.members_speak_tls:
        yield Problem(f"{where}.port", "is missing: the service's own port does not speak TLS")
