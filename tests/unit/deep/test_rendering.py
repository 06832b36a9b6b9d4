"""Members of services with deep checks ask rotad; the others never do."""

from __future__ import annotations

from typing import Any

from rota import haproxy, model


def servers(deep: list[Any], **more: Any) -> list[str]:
    document = {
        "site": {
            "name": "test",
            "nodes": {"lb1": {"address": "198.51.100.11"}},
            "networks": {"lan": {"prefix": "198.51.100.0/24", "interface": "eth0"}},
        },
        "services": {
            "pacs": {
                "profile": "dicom",
                "address": "198.51.100.100",
                "members": {n: {"address": f"198.51.100.2{i}", "called_ae": "PACS"} for i, n in enumerate("ab")},
                "deep": deep,
                **more,
            }
        },
    }
    site = model.parse(document).site
    assert site is not None
    sections = haproxy.view(site, "lb1").sections
    return [line for s in sections for line in s.lines if line.startswith("server ") and " check " in line]


def test_each_member_asks_for_itself() -> None:
    for mode in ("l7", "l4-dr"):
        lines = servers(["find"], mode=mode)
        for name, line in zip("ab", lines, strict=True):
            assert "agent-check agent-inter 10s agent-addr 127.0.0.1 agent-port 8405" in line
            assert f'agent-send "pacs/{name}\\n"' in line


def test_without_deep_checks_nobody_asks() -> None:
    assert not any("agent" in line for line in servers([]))
