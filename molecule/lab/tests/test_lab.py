"""The lab is what the other scenarios take it for: bare nodes, real servers, nothing that leaks."""

from __future__ import annotations

import pytest
from lib.lab import Host, Member
from lib.poll import wait_until

CLIENT = Host("client")
NODES = ["lb1", "lb2"]
PACS = {"pacs-a": "PACS_A", "pacs-b": "PACS_B"}
SOAP = """<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://www.w3.org/2005/08/addressing">
<s:Header><a:Action>urn:ihe:iti:2007:RegistryStoredQuery</a:Action><a:MessageID>urn:uuid:lab-1</a:MessageID></s:Header>
<s:Body/></s:Envelope>"""
SEND_HL7 = """
import asyncio, hl7, sys
from hl7.mllp import open_hl7_connection

async def main():
    reader, writer = await open_hl7_connection(sys.argv[1], 2575)
    for number in range(3):
        writer.writemessage(hl7.parse(f"MSH|^~\\\\&|A|B|C|D|20260101||ADT^A01|{sys.argv[2]}-{number}|P|2.5\\r"))
        answer = await reader.readmessage()
        print(answer["MSA.F1"], answer["MSA.F2"])
    writer.close()

asyncio.run(main())
"""


@pytest.fixture
def pacs_a():
    member = Member("pacs-a")
    yield member
    member.mend_all(4242, 8443)


@pytest.mark.parametrize("name", NODES)
def test_a_node_may_set_net_sysctls_and_no_others(name):
    node = Host(name)
    before = node.check("sysctl", "-n", "net.ipv4.ip_nonlocal_bind").strip()
    node.check("sysctl", "-w", f"net.ipv4.ip_nonlocal_bind={before}")
    assert not node.run("sysctl", "-w", "vm.swappiness=60").ok
    assert not node.run("sysctl", "-w", "kernel.panic=0").ok


@pytest.mark.parametrize("name", NODES)
def test_a_node_may_set_routing_rules(name):
    node = Host(name)
    node.check("ip", "rule", "add", "fwmark", "0x5afe", "lookup", "4242")
    assert "0x5afe" in node.check("ip", "rule")
    node.check("ip", "rule", "del", "fwmark", "0x5afe", "lookup", "4242")


@pytest.mark.parametrize("name", [*NODES, *PACS, "client"])
def test_nothing_leaves_the_lab(name):
    """An address outside must fail at once: no default route, so no packet for a stranger."""
    result = Host(name).run("ping", "-c1", "-W1", "203.0.113.1")
    assert "no route to host" in (result.out + result.err).lower()
    assert "unreachable" in Host(name).check("ip", "-6", "route", "show", "default")


@pytest.mark.parametrize("name", [*NODES, *PACS, "hl7-a", "xds-a", "client"])
def test_hosts_are_healthy_and_known_by_name(name):
    host = Host(name)
    assert host.failed_units() == []
    for other in ("lb2", "pacs-b", "client", "pacs"):
        assert "198.51.100." in host.check("getent", "ahostsv4", other)


@pytest.mark.parametrize(("name", "title"), PACS.items())
def test_a_pacs_answers_to_dicom_https_and_dicom_tls(name, title):
    CLIENT.check("echoscu", "-to", "5", "-aec", title, name, "4242")
    page = CLIENT.check("curl", "-fsSL", "--cacert", "/lab/ca.crt", f"https://{name}:8443/app/explorer.html")
    assert "Orthanc Explorer" in page
    CLIENT.check("echoscu", "-to", "5", "+tla", "--add-cert-file", "/lab/ca.crt", name, "2762")


def test_a_full_pacs_answers_echo_and_refuses_to_store(pacs_a):
    image = "/root/CT.dcm"
    script = "from pydicom import examples; examples.ct.save_as(%r)" % image  # noqa: UP031 (braces belong to nobody here)
    CLIENT.check("python3", "-c", script)
    CLIENT.check("storescu", "-to", "5", "pacs-a", "4242", image)
    pacs_a.fault("full")
    CLIENT.check("echoscu", "-to", "5", "pacs-a", "4242")
    refused = CLIENT.run("storescu", "-v", "-to", "5", "pacs-a", "4242", image)
    assert not refused.ok
    assert "OutOfResources" in refused.err


def test_a_hung_pacs_takes_connections_and_says_nothing(pacs_a):
    pacs_a.fault("hang")
    assert CLIENT.run("timeout", "2", "echoscu", "pacs-a", "4242").code == 124
    pacs_a.mend_all(4242)
    CLIENT.check("echoscu", "-to", "5", "pacs-a", "4242")


def test_a_killed_pacs_takes_its_pages_along(pacs_a):
    pacs_a.check("systemctl", "kill", "--signal=KILL", "orthanc.service")
    wait_until(lambda: not pacs_a.active("rota-lab-https.service"), within=10, what="the pages are gone")
    assert CLIENT.run("curl", "-sS", "https://pacs-a:8443/").code == 7  # could not connect
    assert not CLIENT.run("echoscu", "-to", "3", "pacs-a", "4242").ok


@pytest.mark.parametrize("name", ["hl7-a", "hl7-b"])
def test_an_hl7_receiver_acknowledges_in_order_and_keeps_a_record(name):
    member = Member(name)
    member.forget("hl7")
    answers = CLIENT.check("python3", "-c", SEND_HL7, name, name).split("\n")
    assert answers[:3] == [f"AA {name}-{number}" for number in range(3)]
    assert [line["control_id"] for line in member.records("hl7")] == [f"{name}-{number}" for number in range(3)]


@pytest.mark.parametrize("name", ["xds-a", "xds-b"])
@pytest.mark.parametrize("path", ["registry", "repository"])
def test_an_xds_responder_relates_its_answer_to_the_request(name, path):
    def ask(scheme: str, port: int) -> str:
        return CLIENT.check("curl", "-fsS", "--cacert", "/lab/ca.crt", "-H", "Content-Type: application/soap+xml",
                            "-d", SOAP, f"{scheme}://{name}:{port}/{path}")  # fmt: skip

    for answer in (ask("http", 8080), ask("https", 8443)):
        assert "ResponseStatusType:Success" in answer
        assert "RelatesTo>urn:uuid:lab-1<" in answer


def test_a_switched_fault_shows_in_answers():
    member = Member("xds-a")
    member.fault("reject")
    try:
        answer = CLIENT.check("curl", "-fsS", "-d", SOAP, "http://xds-a:8080/registry")
        assert "ResponseStatusType:Failure" in answer
    finally:
        member.mend_all(8080)


def test_a_killed_host_comes_back_with_its_addresses():
    host = Host("xds-b")
    host.kill()
    assert host.addresses() == set()
    host.start()
    assert {"198.51.100.42", "2001:db8:51::42"} <= host.addresses()
    Member("xds-b").mend_all(8080, 8443)
