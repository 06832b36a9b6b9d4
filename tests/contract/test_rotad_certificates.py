"""Certificates that HAProxy shows: HAProxy itself says when they end, and rotad says so in time."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from contract.rotad_node import Bench, service, site, until
from peers.tcp import free_port

pytestmark = pytest.mark.contract


@pytest.mark.parametrize(("days", "severity"), [(80, None), (20, "warning"), (2, "critical"), (-1, "critical")])
def test_what_haproxy_shows_is_known_and_its_end_is_said(
    daemon_root: Path, tmp_path: Path, days: int, severity: str | None
) -> None:
    with ExitStack() as stack:
        bench = Bench(daemon_root, tmp_path, stack)
        pair = bench.authority.issue("pacs", days=days)
        (bench.inside / "pacs.pem").write_bytes(pair.cert.read_bytes() + pair.key.read_bytes())
        shown = f"/{(bench.inside / 'pacs.pem').relative_to(bench.root)}"
        bind = f"  bind 127.0.0.1:{free_port()} ssl crt {shown}"
        haproxy = bench.haproxy("lb1", {"pacs": [bench.member("pacs-a")]}, extra=bind)
        rotad = bench.rotad("lb1", haproxy, site({"pacs": service(1, ["pacs-a"])}))
        rotad.start()
        (found,) = until(lambda: rotad.get("/v1/status")["certificates"], what="rotad has asked")
        left = datetime.fromisoformat(found["ends"]) - datetime.now(UTC)
        assert (found["name"], left.days) == ("pacs.pem", days - 1)
        alarms = {a["key"]: a["severity"] for a in rotad.get("/v1/alarms")}
        assert alarms.get("certificate:pacs.pem") == severity
