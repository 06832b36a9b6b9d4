"""What it costs to ask 200 DICOM servers for their health every 2 s, and how soon a dead one is out.

HAProxy with the configuration that Rota renders, against a forked echoscu per check; the servers are storescp processes
on the other core. Cost is processor time as the kernel counts it.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.lib import rendered
from bench.lib.network import BEHIND_NODE, CLIENT, NODE, SERVER, SERVICE, network, quickack
from bench.lib.pdus import echo_pdus
from bench.lib.processes import argv, ask, cpu_seconds, environment, listening, running, until
from bench.lib.report import Report, Sample, Target
from bench.lib.root import TOP, ensure_root
from bench.lib.sites import Document, pair, parsed

NODE_CORE, SERVER_CORE = 0, 1
PORTS = range(11112, 11116)
SERVICES = 50


def many() -> Document:
    """50 services of 4 members: 200 checks, one each 2 s."""
    return {
        f"pacs-{number:02}": {
            "profile": "dicom",
            "address": f"198.18.5.{number + 1}",
            "check": {"interval": "2s", "timeout": "1500ms"},
            "members": {
                f"m{number:02}-{port}": {"address": _address(number), "port": port, "called_ae": f"PACS_{port}"} for port in PORTS
            },
        }
        for number in range(SERVICES)
    }


def one() -> Document:
    """One service with all of Rota's own defaults; its members share the host of the servers."""
    members = {f"m{port}": {"address": BEHIND_NODE, "port": port, "called_ae": "STORE"} for port in PORTS}
    return {"pacs": {"profile": "dicom", "address": SERVICE, "members": members}}


def _address(number: int) -> str:
    return f"198.19.0.{number + 1}"
