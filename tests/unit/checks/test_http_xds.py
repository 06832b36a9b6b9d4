"""Every way in which a web server or an XDS actor can answer, and the reason that the check gives for it."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from peers import web as peers
from peers.tcp import TcpPeer, free_port, full_backlog
from rota.checks import http, xds


@pytest.mark.parametrize("name", peers.CASES)
async def test_http_reason(name: str) -> None:
    case = peers.CASES[name]
    deadline = 0.6 if case.reason in ("silent", "timeout") else 5.0
    with TcpPeer(case.talk) as peer:
        verdict = await http.check(http.HttpTarget(f"http://{peer.hostport}/x"), deadline=deadline)
    assert verdict.reason == case.reason, verdict
    assert verdict.elapsed_ms < deadline * 1000 + 2000
    assert "SECRET" not in str(verdict) + str(verdict.as_dict())
    assert case.twin is None or peers.CASES[case.twin].reason == "ok"


async def test_http_refused_and_no_connection() -> None:
    assert (await http.check(http.HttpTarget(f"http://127.0.0.1:{free_port()}/"), deadline=2)).reason == "refused"
    with full_backlog() as port:
        verdict = await http.check(http.HttpTarget(f"http://127.0.0.1:{port}/"), deadline=0.4)
    assert (verdict.reason, verdict.detail[:13]) == ("timeout", "no connection")
    verdict = await http.check(http.HttpTarget(f"http://{'a' * 80}/"), deadline=4)
    assert verdict.reason == "unknown-host"


@pytest.mark.parametrize(("wanted", "up"), [("404", True), ("200,404", True), ("400-499", True), ("200-403", False)])
async def test_wanted_status(wanted: str, up: bool) -> None:
    with TcpPeer(peers.Web(peers.page("404 Not Found"))) as peer:
        verdict = await http.check(http.HttpTarget(f"http://{peer.hostport}/", wanted), deadline=5)
    assert verdict.up is up
    assert verdict.extras["status"] == 404


async def test_redirect_is_not_followed() -> None:
    web = peers.Web(peers.page("302 Found", headers="Location: /elsewhere\r\n"))
    with TcpPeer(web) as peer:
        assert (await http.check(http.HttpTarget(f"http://{peer.hostport}/start"), deadline=5)).up
        assert peer.connections == 1
    assert web.requests == ["GET /start HTTP/1.1"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "https://[::1]:9/a?b", "http://pacs/", "https://u:p@pacs:8443"])
def test_usable_url(url: str) -> None:
    assert http.url_address(url).port in (9, 80, 8443)


@pytest.mark.parametrize(
    "url",
    ["", "pacs", "ftp://pacs/", "http://", "http:///x", "http://pacs:0/", "http://pacs:70000/", "http://pacs:x/"]
    + ["http://[::1/", "http://a b/", "http://pacs\n/"],
)
def test_impossible_url_is_the_callers_error(url: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        http.HttpTarget(url)
    with pytest.raises(ValueError, match=r"\S"):
        xds.XdsTarget(url)


@pytest.mark.parametrize("wanted", ["", "abc", "200-", "399-200", "99", "600", "200,,300"])
def test_impossible_status_list_is_the_callers_error(wanted: str) -> None:
    with pytest.raises(ValueError, match="--status"):
        http.HttpTarget("http://pacs/", wanted)


@pytest.mark.parametrize("name", peers.SOAP_CASES)
async def test_xds_reason(name: str) -> None:
    case = peers.SOAP_CASES[name]
    deadline = 0.6 if case.reason in ("silent", "timeout") else 5.0
    with TcpPeer(case.talk) as peer:
        verdict = await xds.check(xds.XdsTarget(f"http://{peer.hostport}/registry"), deadline=deadline)
    assert verdict.reason == case.reason, verdict
    assert "SECRET" not in str(verdict) + str(verdict.as_dict())
    assert case.twin is None or peers.SOAP_CASES[case.twin].reason == "ok"


@pytest.mark.parametrize("kind", ["registry", "repository", "imaging"])
async def test_xds_request_is_sound(kind: xds.Kind) -> None:
    """Well-formed, addressed, and about a document of our own."""
    soap = peers.Soap(response="RegistryResponse")
    with TcpPeer(soap) as peer:
        url = f"http://{peer.hostport}/{kind}?a=1&b=<2>"
        assert (await xds.check(xds.XdsTarget(url, kind), deadline=5)).up
    root = ElementTree.fromstring(soap.bodies[0])  # noqa: S314 - our own request
    texts = [element.text for element in root.iter() if element.text]
    assert url in texts
    assert b"2.25.162092759987881073733765964532376460616" in soap.bodies[0]


@pytest.mark.parametrize(("kind", "up"), [("registry", False), ("repository", True), ("imaging", True)])
async def test_no_such_document_is_an_answer_of_a_repository(kind: xds.Kind, up: bool) -> None:
    with TcpPeer(peers.Soap(response="RegistryResponse", status="Failure")) as peer:
        verdict = await xds.check(xds.XdsTarget(f"http://{peer.hostport}/", kind), deadline=5)
    assert verdict.up is up, verdict
    assert verdict.extras["response"] == "Failure"


async def test_expected_text() -> None:
    with TcpPeer(peers.Web(peers.page(body=b"Orthanc Explorer"))) as peer:
        url = f"http://{peer.hostport}/"
        assert (await http.check(http.HttpTarget(url, expect="Explorer"), deadline=5)).up
        verdict = await http.check(http.HttpTarget(url, expect="Weasis"), deadline=5)
        assert verdict.reason == "bad-content", verdict
    with TcpPeer(peers.Soap(response="SomethingElse")) as peer:
        url = f"http://{peer.hostport}/"
        assert (await xds.check(xds.XdsTarget(url, expect="SomethingElse"), deadline=5)).up
        assert (await xds.check(xds.XdsTarget(url, expect="Another"), deadline=5)).reason == "bad-content"


async def test_method_host_and_action_reach_the_server() -> None:
    web = peers.Web()
    with TcpPeer(web) as peer:
        target = http.HttpTarget(f"http://{peer.hostport}/a?b=c", method="OPTIONS", host="viewer.example")
        assert (await http.check(target, deadline=5)).up
        assert b"\r\nHost: viewer.example\r\n" in peer.conversations[0].received
    assert web.requests == ["OPTIONS /a?b=c HTTP/1.1"]
    soap = peers.Soap()
    with TcpPeer(soap) as peer:
        target = xds.XdsTarget(f"http://{peer.hostport}/", action="urn:site:own", host="xds.example")
        assert (await xds.check(target, deadline=5)).up
        received = bytes(peer.conversations[0].received)
    assert b'action="urn:site:own"' in received
    assert b">urn:site:own</a:Action>" in received
    assert b"\r\nHost: xds.example\r\n" in received


@pytest.mark.parametrize(
    "settings", [{"method": "get"}, {"method": "GET /x"}, {"host": "a\r\nX: y"}, {"host": ""}, {"host": "ä"}]
)
def test_impossible_request_is_the_callers_error(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="--"):
        http.HttpTarget("http://pacs/", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("action", ["a\r\nX: y", 'a"b', "a<b", ""])
def test_impossible_action_is_the_callers_error(action: str) -> None:
    with pytest.raises(ValueError, match="--action"):
        xds.XdsTarget("http://pacs/", action=action)
