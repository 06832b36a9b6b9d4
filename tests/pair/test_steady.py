"""A pair that nobody has broken: every service answers at its address, and each address is in one place."""

from __future__ import annotations

import subprocess
import sys

import pytest
from lib.lab import NODES
from pair.rig import client, nodes

pytestmark = pytest.mark.usefixtures("steady")

ADDRESSES = sorted({address for service in nodes.SITE.services.values() for address in service.addresses})
SOAP = """<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://www.w3.org/2005/08/addressing">
<s:Header><a:Action>urn:ihe:iti:2007:RegistryStoredQuery</a:Action><a:MessageID>urn:uuid:{message}</a:MessageID></s:Header>
<s:Body/></s:Envelope>"""


@pytest.mark.parametrize("address", ADDRESSES)
def test_exactly_one_node_holds_the_address(address: str) -> None:
    """Two holders is split brain, none is an outage: both must fail."""
    assert client.CLIENT.run("ping", "-c1", "-W2", address).ok, f"{address} does not answer"
    assert nodes.held_once(address) in NODES


def test_each_group_is_on_its_preferred_node() -> None:
    """A fresh site shares its work out: both nodes are active, each for a group."""
    assert len(set(nodes.preferred().values())) == len(NODES), "the lab's model has no group for each node"
    assert nodes.one_holder_each() == nodes.preferred()


def test_the_registry_answers_through_its_address() -> None:
    message = "0f0e0d0c-0b0a-4908-8706-050403020100"
    url = f"http://{nodes.address_of('registry')}/registry"
    answer = client.page(url, "--data", SOAP.format(message=message), "--header", "Content-Type: application/soap+xml")
    assert "ResponseStatusType:Success" in answer.out, answer
    assert f"RelatesTo>urn:uuid:{message}<" in answer.out


@pytest.mark.parametrize("family", ["4", "6"])
def test_the_viewer_passes_tls_through_to_a_member(family: str) -> None:
    """The certificate that the browser sees is the member's own: the node cannot have read the page."""
    address = nodes.address_of("viewer") if family == "4" else f"[{nodes.address6_of('viewer')}]"
    shown = client.CLIENT.run(
        "openssl", "s_client", "-connect", f"{address}:443", "-CAfile", "/lab/ca.crt", "-verify_return_error", stdin=b"\n"
    )
    assert shown.ok, shown.err
    assert any(f"CN = {name}" in shown.out or f"CN={name}" in shown.out for name in ("pacs-a", "pacs-b")), shown.out[:600]
    answer = client.page(f"https://{address}/app/explorer.html", "--insecure")
    assert "Orthanc" in answer.out, answer


def test_the_viewer_is_encrypted_again_by_the_node() -> None:
    """The node shows the service's certificate, which the client verifies, and the page is the member's."""
    service = nodes.SITE.services["viewer-offload"]
    port = service.ports[0]
    answer = client.page(f"https://viewer:{port}/app/explorer.html", "--resolve", f"viewer:{port}:{service.addresses[0]}")
    assert answer.ok, answer.err
    assert "Orthanc" in answer.out


def test_the_verify_playbook_is_green() -> None:
    words = [f"{sys.prefix}/bin/ansible-playbook", "playbooks/verify.yml"]
    done = subprocess.run(words, cwd=nodes.REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    for service in nodes.SITE.services:
        assert service in done.stdout, f"{service} is not in the table"
