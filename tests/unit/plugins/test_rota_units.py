"""The Ansible module `rota_units`, run as Ansible runs it, with a systemctl that is told what is so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lib.module import run_module

MODULE = Path(__file__).parents[3] / "plugins/modules/rota_units.py"
# `is-enabled` and `is-active` are the names of files that list units; what cannot start has "broken" in its name.
SYSTEMCTL = """#!/bin/sh
shift
case "$1" in
  enable) echo "$2" >>{0}/is-enabled ;;
  start) case "$2" in *broken*) echo "Job for $2 failed." >&2; exit 1 ;; esac; echo "$2" >>{0}/is-active ;;
  *) exec grep -qx "$2" {0}/"$1" ;;
esac
echo "$1 $2" >>{0}/did
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("is-enabled", "is-active", "did"):
        (tmp_path / name).write_text("")
    (tmp_path / "systemctl").write_text(SYSTEMCTL.format(tmp_path))
    (tmp_path / "systemctl").chmod(0o755)
    return tmp_path


def run(place: Path, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
    return run_module(MODULE, arguments, check=check, path=place)


def test_what_is_missing_is_done_once(place: Path) -> None:
    wish = {"enabled": ["a.service", "b.service"], "started": ["a.service"]}
    answer = run(place, **wish)
    assert (answer["changed"], answer["done"]) == (True, ["enable a.service", "enable b.service", "start a.service"])
    assert (place / "did").read_text().splitlines() == answer["done"]
    again = run(place, **wish)
    assert (again["changed"], again["done"]) == (False, [])


def test_check_mode_tells_and_does_nothing(place: Path) -> None:
    answer = run(place, enabled=["a.service"], started=["a.service"], ready=["false"], check=True)
    assert answer["done"] == ["enable a.service", "start a.service"]
    assert (place / "did").read_text() == ""


def test_a_unit_that_does_not_start_is_a_failure(place: Path) -> None:
    answer = run(place, enabled=[], started=["broken.service"])
    assert (answer["failed"], answer["msg"]) == (True, "systemctl start broken.service: Job for broken.service failed.")


def test_it_waits_until_the_work_is_done(place: Path) -> None:
    """The first look comes too early."""
    ready = ["sh", "-c", f"test -e {place}/later || {{ touch {place}/later; exit 1; }}"]
    assert not run(place, enabled=[], ready=ready, within=10)["changed"]


def test_started_and_yet_not_at_work_is_a_failure_that_says_why(place: Path) -> None:
    """keepalived, with a configuration that it does not like."""
    answer = run(place, enabled=[], started=["a.service"], ready=["sh", "-c", "echo no group yet >&2; exit 3"], within=0)
    assert (answer["failed"], answer["rc"]) == (True, 3)
    assert answer["msg"] == "a.service: not at work after 0 s:\nno group yet"
