"""The Ansible module `rota_packages`, run as Ansible runs it, with a dpkg and an apt that are told what to say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lib.module import run_module

MODULE = Path(__file__).parents[3] / "plugins/modules/rota_packages.py"
# `have` is the list of what is installed; an apt that is asked to install adds to it, but for what it cannot find.
DPKG = """#!/bin/sh
shift 3
for name in "$@"; do grep -qx "$name" {0}/have && echo "ii  $name"; done
case "$*" in *removed*) echo "rc  removed";; esac
exit 1
"""
APT = """#!/bin/sh
echo "$@" >>{0}/asked
case "$*" in
  *nowhere*) echo "E: Unable to locate package nowhere" >&2; exit 100 ;;
  *install*) for name in "$@"; do [ "$name" = phantom ] || echo "$name" >>{0}/have; done ;;
esac
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "have").write_text("socat\n")
    (tmp_path / "asked").write_text("")
    for name, text in (("dpkg-query", DPKG), ("apt-get", APT)):
        (tmp_path / name).write_text(text.format(tmp_path))
        (tmp_path / name).chmod(0o755)
    return tmp_path


def run(place: Path, *names: str, check: bool = False, **more: Any) -> dict[str, Any]:
    return run_module(MODULE, {"name": list(names), **more}, check=check, path=place)


def test_nothing_is_missing_and_apt_is_not_asked(place: Path) -> None:
    assert (run(place, "socat", update=True)["changed"], (place / "asked").read_text()) == (False, "")


def test_what_is_missing_is_installed_once(place: Path) -> None:
    answer = run(place, "socat", "haproxy", "removed", update=True)
    assert (answer["changed"], answer["installed"]) == (True, ["haproxy", "removed"])
    update, install = (place / "asked").read_text().splitlines()
    assert update.endswith(" update")
    assert install.endswith(" haproxy removed")
    assert "--no-install-recommends" in install
    assert not run(place, "socat", "haproxy")["changed"]


def test_check_mode_installs_nothing(place: Path) -> None:
    assert run(place, "haproxy", check=True)["installed"] == ["haproxy"]
    assert (place / "asked").read_text() == ""


def test_what_apt_says_is_shown(place: Path) -> None:
    answer = run(place, "nowhere")
    assert (answer["failed"], answer["msg"]) == (True, "apt-get install: E: Unable to locate package nowhere")


def test_an_apt_that_did_nothing_is_not_believed(place: Path) -> None:
    answer = run(place, "phantom")
    assert answer["failed"]
    assert answer["msg"].endswith("these are not installed: phantom")
