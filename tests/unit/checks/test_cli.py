"""`rota check` with words that cannot work: one clear line on stderr, exit status 1, and nothing is sent."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from rota import cli

PAGE = Path(__file__).resolve().parents[3] / "docs/reference/check.md"
BAD_WORDS = [
    ([], "Missing command"),
    (["nope"], "nope"),
    (["check"], "Missing command"),
    (["check", "nope"], "nope"),
    (["check", "dicom"], "HOST:PORT"),
    (["check", "dicom", "127.0.0.1:104", "--nope"], "--nope"),
    (["check", "dicom", "127.0.0.1:104", "extra"], "extra"),
    (["check", "dicom", "127.0.0.1:104", "--timeout"], "--timeout"),
    (["check", "dicom", "127.0.0.1:104", "--timeout", "soon"], "--timeout"),
    (["check", "tcp", "127.0.0.1:104", "--timeout", "0"], "timeout: 0"),
    (["check", "tcp", "127.0.0.1:104", "--timeout", "nan"], "timeout"),
    (["check", "tcp", "127.0.0.1"], "write HOST:PORT"),
    (["check", "tcp", "127.0.0.1:70000"], "70000 is not a port"),
    (["check", "tcp", "::1:104"], "[ADDRESS]:PORT"),
    (["check", "dicom", "127.0.0.1:104", "--called", "SEVENTEEN_LETTERS"], "longer than 16"),
    (["check", "dicom", "127.0.0.1:104", "--ca", "x.pem"], "need TLS"),
    (["check", "dicom", "127.0.0.1:104", "--tls", "--ca", "/nowhere/ca.pem"], "/nowhere/ca.pem does not exist"),
    (["check", "hl7", "127.0.0.1:104", "--tls", "--cert", "/nowhere/c.pem"], "/nowhere/c.pem does not exist"),
    (["check", "tls", "127.0.0.1:104", "--min-days", "x"], "--min-days"),
    (["check", "hl7", "127.0.0.1:104", "--sender", "A|B"], "separator"),
    (["check", "http", "ftp://192.0.2.1/"], "http://"),
    (["check", "http", "http://192.0.2.1/", "--status", "9"], "--status"),
    (["check", "xds", "http://192.0.2.1/", "--kind", "nope"], "--kind"),
    (["check", "member", "pacs", "a", "--site", "/nowhere/site.json"], "/nowhere/site.json"),
    # A label over 63 characters is refused before any name server is asked.
    (["check", "tcp", "a" * 80 + ":104"], "down unknown-host"),
    (["check", "http", f"http://{'a' * 80}/"], "down unknown-host"),
]


def run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["rota", *words])
    monkeypatch.setattr("rota.checks.cli.quieten", lambda: None)  # process-wide: signals, logging, warnings
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code  # type: ignore[return-value]


@pytest.mark.parametrize(("words", "line"), BAD_WORDS, ids=lambda value: None if isinstance(value, str) else " ".join(value))
def test_one_line_and_1(
    words: list[str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words, monkeypatch) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1, shown.err
    assert line in shown.err


def test_usage_error_is_json_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["dicom", "--json", "127.0.0.1:70000"], ["dicom", "--json"], ["tcp", "x", "--json", "--nope"]):
        assert run(["check", *words], monkeypatch) == 1
        shown = capsys.readouterr()
        assert shown.err == ""
        answer = json.loads(shown.out)
        assert (answer["verdict"], answer["reason"]) == ("down", "usage")


@pytest.mark.parametrize("kind", ["", "dicom", "hl7", "xds", "http", "tcp", "tls", "member"])
def test_help_has_what_the_page_shows(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([word for word in ("check", kind, "--help") if word], monkeypatch) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "Usage: rota check" in shown.out
    if kind:
        found = re.search(rf"^rota check {kind} (.+)$", PAGE.read_text(), re.MULTILINE)
        assert found, f"the page does not show `rota check {kind}`"
        options = re.findall(r"--[a-z-]+", found[1])
        assert {"--timeout", "--json"} <= set(options)
        for option in options:
            assert option in shown.out


def test_fault_of_our_own_is_one_line_and_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object, **__: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr("rota.checks.net.Address.parse", broken)
    assert run(["check", "tcp", "127.0.0.1:104"], monkeypatch) == 1
    assert capsys.readouterr().err == "rota: internal error: TypeError: a bug\n"
