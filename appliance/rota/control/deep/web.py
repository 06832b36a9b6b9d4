"""HTTP, SOAP and storage space: an answer, and what must be in it."""

from __future__ import annotations

import base64
import json
import re
import uuid
from typing import Any

from rota.checks import xds
from rota.checks.http import Answer, exchange, statuses
from rota.checks.net import Address
from rota.checks.probe import Probe
from rota.checks.verdict import Failure, Reason
from rota.checks.wire import opened
from rota.control.deep.question import Question

_LONGEST = 65536
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,3})?")
_COMPARE = re.compile(r"(<=|>=|<|>)\s*(.+)")
_KINDS: dict[str, xds.Kind] = {"xds-repository": "repository", "xds-imaging": "imaging"}


async def http(question: Question, probe: Probe) -> str:
    """A request, and its status, headers, JSON values and text."""
    check = question.check
    answer = await _request(question, probe, check.method or "GET", "200-399")
    # the names of headers have no case (RFC 9110, 5.1)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    for name, wanted in (check.headers or {}).items():
        if wanted not in headers.get(name.lower(), ""):
            raise Failure(Reason.BAD_CONTENT, f"header {name} does not hold the wanted text")
    if check.json_values:
        document = _json(answer)
        for path, wanted in check.json_values.items():
            if not any(_fits(value, wanted) for value in _find(path, document)):
                raise Failure(Reason.BAD_CONTENT, f"{path} is not {wanted}")
    if check.expect is not None and check.expect.encode() not in answer.body:
        raise Failure(Reason.BAD_CONTENT, "the expected text is not there")
    return f"HTTP status {answer.status}"


async def storage(question: Question, probe: Probe) -> str:
    """Room left: a field of a REST answer, the first number of a text, or what a file agent says."""
    check = question.check
    if check.path is None:
        room = _number((await _line(question, probe)).decode("utf-8", "replace"))
    else:
        answer = await _request(question, probe, "GET", "200")
        if check.field is None:
            room = _number(answer.body.decode("utf-8", "replace"))
        else:
            room = _number(next(iter(_find(check.field, _json(answer))), None))
    if room is None:
        raise Failure(Reason.BAD_CONTENT, "the answer holds no number that could be room")
    probe.extras["room"] = room
    if room < (check.minimum or 0):
        raise Failure(Reason.NO_ROOM, f"{room:g} left, fewer than {check.minimum:g}")
    return f"{room:g} left"


async def soap(question: Question, probe: Probe) -> str:
    """An XDS transaction that finds nothing, whose answer must hold an element."""
    check, trust = question.check, question.trust()
    kind = _KINDS.get(question.service.profile, "registry")
    target = xds.XdsTarget(_url(question), kind, trust, _host(question), check.soap_action)
    message = xds.request(target, f"urn:uuid:{uuid.uuid4()}")
    action = check.soap_action or xds.ACTIONS[kind]
    headers = {"Content-Type": f'application/soap+xml; charset=UTF-8; action="{action}"', "Host": _host(question)}
    answer = await exchange(probe, "POST", target.url, tls=trust, body=message, headers=headers)
    probe.extras["status"] = answer.status
    envelope = xds.envelope_in(answer.body)
    if envelope is None:
        _status(answer, check.status or "200")
        raise Failure(Reason.NOT_SOAP, "the answer holds no SOAP 1.2 envelope")
    names = [element.tag.rpartition("}")[2] for element in envelope.iterfind("./{*}Body//")]
    if "Fault" in names:
        raise Failure(Reason.FAULT, f"SOAP fault (HTTP status {answer.status})")
    _status(answer, check.status or "200")
    if check.element not in names:
        raise Failure(Reason.NOT_SOAP, f"the answer has no element {check.element}")
    return f"SOAP answer with {check.element}"


async def _request(question: Question, probe: Probe, method: str, allowed: str) -> Answer:
    headers = {"Host": _host(question)}
    if question.check.credentials is not None:
        login = question.login()
        word = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
        headers["Authorization"] = f"Basic {word}"
    answer = await exchange(probe, method, _url(question), tls=question.trust(), headers=headers)
    probe.extras["status"] = answer.status
    if answer.status in (401, 403) and question.check.credentials is not None:
        raise Failure(Reason.LOGIN, f"HTTP status {answer.status}")
    _status(answer, question.check.status or allowed)
    return answer


def _status(answer: Answer, wanted: str) -> None:
    if not any(answer.status in span for span in statuses(wanted)):
        raise Failure(Reason.BAD_STATUS, f"HTTP status {answer.status}, expected {wanted}")


def _url(question: Question) -> str:
    scheme = "https" if question.in_tls else "http"
    return f"{scheme}://{question.address}{question.check.path or '/'}"


def _host(question: Question) -> str:
    if question.check.host is not None:
        return question.check.host
    return str(Address(question.service.addresses[0], 80)).removesuffix(":80")


async def _line(question: Question, probe: Probe) -> bytes:
    """What a file agent says: everything up to the end of its first line, or of the connection."""
    data = b""
    async with opened(question.address, probe, question.trust()) as wire:
        probe.doing = "waiting for the agent's line"
        while b"\n" not in data:
            if len(data) > _LONGEST:
                raise Failure(Reason.BAD_ANSWER, "the agent's line does not end")
            try:
                data += await wire.read()
            except Failure as failure:
                if failure.reason is Reason.CLOSED and data:
                    break
                raise
    return data.partition(b"\n")[0]


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise Failure(Reason.BAD_CONTENT, "the answer is not JSON") from None


def _find(path: str, document: Any) -> list[Any]:
    import jsonpath

    try:
        return list(jsonpath.findall(path, document))
    except jsonpath.JSONPathError:
        raise Failure(Reason.USAGE, f"{path} is not a JSONPath") from None


def _number(value: Any) -> float | None:
    """The number that a value is, or begins with: archives write `"1024"` and `12.5 GB` alike."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    found = _NUMBER.search(value) if isinstance(value, str) else None
    return float(found[0]) if found else None


def _fits(value: Any, wanted: str) -> bool:
    if compare := _COMPARE.fullmatch(wanted):
        left, right = _number(value), _number(compare[2])
        if left is None or right is None:
            return False
        return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[compare[1]]
    text = value if isinstance(value, str) else json.dumps(value)
    return text == wanted
