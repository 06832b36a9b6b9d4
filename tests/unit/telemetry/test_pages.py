"""The dashboard and the reference pages name what exists."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

from rota.control.metrics import families
from rota.model.deep import DEFAULTS
from rota.preflight.findings import Subject
from unit.api import double

PAGES = Path(__file__).resolve().parents[3] / "docs/reference"
DASHBOARD = json.loads((PAGES / "grafana-rota.json").read_text())


def names() -> set[str]:
    suffix = {"counter": "_total", "info": "_info"}
    return {f.name + suffix.get(f.type, "") for f in families(double.Double().status(), Counter())}


def test_every_panel_asks_for_metrics_that_exist() -> None:
    asked = set()
    for panel in DASHBOARD["panels"]:
        found = {name for target in panel["targets"] for name in re.findall(r"\brota_\w+", target["expr"])}
        assert found, panel["title"]
        asked |= found
    assert asked <= names()


def test_panels_have_places_of_their_own() -> None:
    places = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not own & places, panel["title"]
        assert at["x"] + at["w"] <= 24
        places |= own
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_page_lists_exactly_the_metrics() -> None:
    page = (PAGES / "telemetry.md").read_text()
    assert set(re.findall(r"^\| `(rota_\w+)` \|", page, re.M)) == names()


def test_the_page_lists_exactly_the_kinds_of_deep_checks() -> None:
    page = (PAGES / "deep-checks.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.M) == list(DEFAULTS)


def test_the_page_lists_what_preflight_looks_at() -> None:
    page = (PAGES / "preflight.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.M) == [subject.value for subject in Subject]
