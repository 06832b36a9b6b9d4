"""The site's own program: an argument list, a time limit, a user without rights, and exit status 0 or 1."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
from typing import Any

from rota.checks.probe import Probe
from rota.checks.verdict import Failure, Reason
from rota.control.deep.question import Question

# Nothing of rotad's own surroundings: no socket of systemd, no secret.
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


async def ask(question: Question, probe: Probe) -> str:
    """Run it; what it prints is thrown away, for it may name a patient."""
    address = question.address
    words = {"{address}": address.host, "{port}": str(address.port), "{member}": question.member_name}
    argv = [words.get(word, word) for word in question.check.argv or []]
    probe.doing = f"running {argv[0]}"
    # the program's own time: past it, there was no answer rather than no connection
    probe.connected = True
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            cwd="/", env=_ENVIRONMENT, start_new_session=True, umask=0o077, **_identity(question.places.user),
        )  # fmt: skip
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise Failure(Reason.USAGE, f"{argv[0]}: {why}") from None
    try:
        code = await process.wait()
    finally:
        # children that it left behind, too
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.returncode is None:
            await asyncio.shield(process.wait())
    if code < 0:
        raise Failure(Reason.PROGRAM, f"{argv[0]} was ended by signal {-code}")
    if code:
        raise Failure(Reason.PROGRAM, f"{argv[0]} ended with status {code}")
    return f"{argv[0]} ended with status 0"


def _identity(name: str) -> dict[str, Any]:
    """Who runs it: never root."""
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise Failure(Reason.USAGE, f"there is no user {name} to run programs as") from None
    if user.pw_uid == 0:
        raise Failure(Reason.USAGE, f"{name} is root: programs must run without rights")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
