"""The list of reasons: documented, and each one seen."""

from __future__ import annotations

import re
from pathlib import Path

from peers import dicom, mllp, web
from rota.checks import Reason, Verdict

TOP = Path(__file__).resolve().parents[3]


def test_page_lists_exactly_the_reasons() -> None:
    page = (TOP / "docs/reference/check.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.+) \|$", page, re.MULTILINE))
    assert rows == {reason.value: reason.meaning for reason in Reason}


def test_every_reason_is_asserted_somewhere() -> None:
    cases = [*dicom.CASES.values(), *mllp.CASES.values(), *web.CASES.values(), *web.SOAP_CASES.values()]
    seen = {case.reason for case in cases}
    folders = {"unit/checks": "*.py", "unit/deep": "*.py", "contract": "test_[rd][oe][te][ap]_*.py"}
    for file in [file for folder, names in folders.items() for file in (TOP / "tests" / folder).glob(names)]:
        text = file.read_text()
        seen |= {reason.value for reason in Reason if f'"{reason}"' in text or f"Reason.{reason.name}" in text}
    assert seen >= {reason.value for reason in Reason}


def test_every_failing_case_has_a_passing_twin() -> None:
    for cases in (dicom.CASES, mllp.CASES, web.CASES, web.SOAP_CASES):
        for name, case in cases.items():
            assert case.reason == "ok" or (case.twin and cases[case.twin].reason == "ok"), name


def test_only_ok_is_up() -> None:
    for reason in Reason:
        verdict = Verdict(reason, "detail", 12.34, {"status": "0000"})
        assert verdict.up is (reason is Reason.OK)
        assert verdict.exit_code == (0 if reason is Reason.OK else 1)
        assert verdict.as_dict() == {
            "verdict": "up" if reason is Reason.OK else "down",
            "reason": reason.value,
            "detail": "detail",
            "elapsed_ms": 12.3,
            "status": "0000",
        }
