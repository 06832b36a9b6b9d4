"""Checks: ask one server one question, and say in one word what came of it.

Each module has a target (what to ask, and of whom) and `check(target, deadline=…)`, a coroutine that returns a
`Verdict` and never raises for what the network did. The command line is in `rota.checks.cli`.
"""

from rota.checks.verdict import Reason, Verdict

__all__ = ["Reason", "Verdict"]
