"""C-FIND and the trial C-STORE: `rota.checks.dicom` has them."""

from __future__ import annotations

from rota.checks import dicom
from rota.checks.verdict import Failure, Reason, Verdict
from rota.control.deep.question import Question


async def ask(question: Question) -> Verdict:
    """C-ECHO, and in the same association the query or the store."""
    check = question.check
    called = check.called_ae or question.service.called_ae_of(question.member_name) or "ANY-SCP"
    calling = check.calling_ae or question.service.check.calling_ae or "ROTA"
    try:
        target = dicom.DicomTarget(
            question.address, called, calling, check.kind == "find", check.kind == "store", question.trust()
        )
    except Failure as failure:
        return Verdict(failure.reason, failure.detail)
    except ValueError as problem:
        return Verdict(Reason.USAGE, str(problem))
    return await dicom.check(target, deadline=question.deadline)
