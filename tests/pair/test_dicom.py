"""DICOM through the service address: echo, store, query, routes, refusals, and what the log keeps."""

from __future__ import annotations

import time

import pytest
from lib.lab import NODES, Host
from lib.poll import wait_until
from pair.rig import archive, client, nodes

pytestmark = pytest.mark.usefixtures("steady")


def test_echo() -> None:
    answer = client.dcmtk("echoscu", "-v", nodes.address_of("pacs"), "104")
    assert answer.ok, answer.err
    assert "Received Echo Response (Success)" in answer.out + answer.err


@pytest.mark.usefixtures("empty_archives")
def test_echo_and_store_over_ipv6() -> None:
    """With pynetdicom: DCMTK 3.6.9 takes no IPv6 address."""
    file = archive.series()[0]
    with client.Running("hold", nodes.address6_of("pacs"), "104", "PACS", "CT1") as association:
        assert association.tell("echo")["ok"], association.lines
        assert association.tell(f"store {file}")["ok"], association.lines
        assert association.tell("release")["ok"]
    archive.assert_all_stored([file])


@pytest.mark.usefixtures("empty_archives")
def test_a_series_is_stored_bit_for_bit_and_shared_between_the_archives() -> None:
    files = archive.series()
    lines = client.call("store_loop", nodes.address_of("pacs"), "104", "PACS", "CT1", "1", *files)
    assert [line["attempt"] for line in lines if not line["ok"]] == [], "nothing is broken, so nothing needs a second try"
    archive.assert_all_stored(files)
    shares = {name: len(archive.stored(name)) for name in archive.PACS}
    assert all(shares.values()), f"one archive got nothing: {shares}"


@pytest.mark.usefixtures("empty_archives")
def test_query() -> None:
    """C-FIND goes to any archive, so both get the image first, past the service address."""
    file = archive.series()[0]
    for name in archive.PACS:
        assert client.dcmtk("storescu", name, "4242", file).ok
    keys = ["-S", "-k", "0008,0052=STUDY", "-k", "0020,000d", "-k", "0010,0020"]
    answer = client.dcmtk("findscu", "-v", *keys, nodes.address_of("pacs"), "104")
    assert answer.ok, answer.err
    assert (answer.out + answer.err).count("Find Response") >= 1
    assert "StudyInstanceUID" in answer.out + answer.err


@pytest.mark.usefixtures("empty_archives")
@pytest.mark.parametrize(("called", "home"), [("PACS_A", "pacs-a"), ("PACS_B", "pacs-b")])
def test_the_called_ae_decides_the_archive(called: str, home: str) -> None:
    files = archive.series()[:4]
    lines = client.call("store_loop", nodes.address_of("pacs-ae"), "11112", called, "CT1", "1", *files)
    assert all(line["ok"] for line in lines)
    archive.assert_all_stored(files, home)
    assert len(archive.stored()) == len(files), "another archive got some too"


@pytest.mark.parametrize(
    ("calling", "called", "words"),
    [
        ("NOBODY", "PACS_A", "Calling AE Title Not Recognized"),
        ("CT1", "NOWHERE", "Called AE Title Not Recognized"),
    ],
)
def test_a_refusal_says_why(calling: str, called: str, words: str) -> None:
    """A silent close looks like a dead network; the operator of the modality must see which title is wrong."""
    answer = client.dcmtk("echoscu", "-aet", calling, "-aec", called, nodes.address_of("pacs-ae"), "11112")
    assert not answer.ok
    assert words in answer.out + answer.err, answer
    assert "Rejected Permanent" in answer.out + answer.err


def test_both_ae_titles_are_in_the_log_and_no_patient_is() -> None:
    """The log says who asked whom; nothing of the data set, nothing of HL7 beyond its header."""
    began = time.time() - 1
    file = next(file for file in archive.series() if "98892001" in file)
    name = client.CLIENT.check("python3", "-c", f"import pydicom; print(pydicom.dcmread('{file}').PatientName)").strip()
    assert client.dcmtk("storescu", "-aet", "CT_LOG", "-aec", "PACS_LOG", nodes.address_of("pacs"), "104", file).ok
    lines = client.call("hl7_feed", nodes.address_of("adt"), "2575", "LOG", "2")
    assert lines[-1]["acks"], lines
    line = wait_until(lambda: _logged(began, "CT_LOG"), within=10, what="a log line with the calling AE")
    assert "PACS_LOG" in line
    family, _, given = name.partition("^")
    for node in NODES:
        everything = Host(node).check("journalctl", "--no-pager", f"--since=@{began:.0f}")
        for secret in (family + "^", f"{family} {given}", "ROTA^LAB", "PID|"):
            assert secret not in everything, f"{secret!r} is in the journal of {node}"


def _logged(since: float, word: str) -> str:
    text = nodes.active().check("journalctl", "--no-pager", "-u", "haproxy", f"--since=@{since:.0f}")
    return next((line for line in text.splitlines() if word in line), "")
