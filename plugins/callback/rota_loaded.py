"""Ansible callback: loads the `rota` package once, in the process from which every task's worker is forked.

Without it each task that asks one of Rota's filters reads the package anew: half a second of a processor and more, thirty
times in a rollout.
"""

from __future__ import annotations

import contextlib
import importlib

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: rota_loaded
type: aggregate
short_description: Load the rota package before tasks are forked
description: [Prints nothing. It is an optimisation only; the filters load what they need when it is not there.]
author: ["Rota"]
"""

# What plugins/filter/rota.py asks for.
NEEDED = (
    "rota.control.config",
    "rota.control.written",
    "rota.firewall",
    "rota.haproxy",
    "rota.host",
    "rota.keepalived.kernel",
    "rota.member",
    "rota.model",
    "rota.rollout",
    "rota.verify",
    "rota.web.written",
)

for name in NEEDED:
    with contextlib.suppress(ImportError):  # the filter that needs it says so
        importlib.import_module(name)


class CallbackModule(CallbackBase):
    """Ansible's way to find callbacks."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "rota_loaded"
