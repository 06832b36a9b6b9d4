"""Every kind of deep check by its name: one question, one verdict, never an exception for what a peer did."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from rota.checks import tls
from rota.checks.probe import Probe, run
from rota.checks.verdict import Failure, Reason, Verdict
from rota.control.deep import command, dicom, ldap, sql, web
from rota.control.deep.question import Question
from rota.model.deep import DeepKind

log = logging.getLogger("rota.deep")

_STEPS: dict[DeepKind, Callable[[Question, Probe], Awaitable[str]]] = {
    DeepKind.STORAGE: web.storage,
    DeepKind.HTTP: web.http,
    DeepKind.SOAP: web.soap,
    DeepKind.POSTGRESQL: sql.postgresql,
    DeepKind.MYSQL: sql.mysql,
    DeepKind.MSSQL: sql.mssql,
    DeepKind.LDAP: ldap.ask,
    DeepKind.COMMAND: command.ask,
}


async def ask(question: Question) -> Verdict:
    """Ask within the check's time-out. A fault of ours is `usage`, which is held against no member."""
    try:
        if question.check.kind.is_dicom:
            return await dicom.ask(question)
        if question.check.kind is DeepKind.CERTIFICATE:
            target = tls.TlsTarget(question.address, question.tls(), question.check.days or 0)
            return await tls.check(target, deadline=question.deadline)
        step = _STEPS[question.check.kind]
        return await run(lambda probe: step(question, probe), question.deadline)
    except Failure as failure:
        return Verdict(failure.reason, failure.detail)
    except Exception as error:
        log.exception("deep check %s of %s/%s", question.check.name, question.service_name, question.member_name)
        return Verdict(Reason.USAGE, f"the check itself failed ({type(error).__name__})")
