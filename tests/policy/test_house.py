"""Rules of the house that no linter knows. Each says why it is one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TRACKED = [
    ROOT / name
    for name in subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    if (ROOT / name).is_file()
]
ROLES = sorted(p for p in (ROOT / "roles").iterdir() if p.is_dir())


def ending(*suffixes: str) -> list[Path]:
    return [p for p in TRACKED if p.suffix in suffixes]


@pytest.mark.parametrize("role", ROLES, ids=lambda p: p.name)
def test_a_role_is_whole(role: Path) -> None:
    """A role without argument specs accepts misspelt variables; one without a scenario is not known to work."""
    for part in ("README.md", "defaults/main.yml", "meta/argument_specs.yml", "meta/main.yml", "tasks/main.yml"):
        assert (role / part).is_file(), f"{role.name} has no {part}"
    assert (ROOT / "molecule" / role.name / "molecule.yml").is_file(), f"{role.name} has no molecule scenario"


@pytest.mark.parametrize("role", ROLES, ids=lambda p: p.name)
def test_a_role_explains_each_of_its_variables(role: Path) -> None:
    """The argument specs are the reference: a default that they do not name is undocumented, and unchecked."""
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text()) or {}
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]
    known = {option for entry in specs.values() for option in entry.get("options", {})}
    assert set(defaults) <= known


def test_templates_decide_nothing() -> None:
    """What a template decides, no unit test sees."""
    assert [p for p in ending(".j2") if "{% set" in p.read_text()] == []


def test_files_can_be_read_in_one_sitting() -> None:
    """Above 400 lines nobody reads a file whole before changing it."""
    assert [(p.name, n) for p in ending(".py", ".j2", ".yml") if (n := len(p.read_text().splitlines())) > 400] == []


def test_no_failure_is_swallowed() -> None:
    """`ignore_errors` and a bare `failed_when: false` turn a broken rollout green; a reason must stand beside either."""
    pattern = re.compile(r"^\s*(ignore_errors: *true|failed_when: *false)\s*$", re.M)
    assert [p for p in ending(".yml") if pattern.search(p.read_text())] == []


def test_no_key_is_in_the_repository() -> None:
    """A secret that was committed once is public for ever."""
    marker = "-----BEGIN " + r"[A-Z ]*PRIVATE KEY-----"
    assert [p for p in TRACKED if p.suffix not in (".png",) and re.search(marker, p.read_text(errors="replace"))] == []


def test_no_link_was_copied_as_a_file() -> None:
    """A copy that does not know links leaves a file with the target's name in it: systemd ignores that, so nothing is enabled."""
    short = [p for p in TRACKED if not p.is_symlink() and 0 < p.stat().st_size < 200]
    texts = {p: p.read_text(errors="replace") for p in short}
    assert [
        p for p, text in texts.items() if "\n" not in text and (text.startswith("/") or (p.parent / text).exists())
    ] == []


def test_every_make_target_has_a_line_of_help() -> None:
    """A target that `make help` does not show is one that nobody finds."""
    text = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"[\w-]+", " ".join(re.findall(r"^\.PHONY:(.*)$", text, re.M))))
    assert phony <= set(re.findall(r"^([\w-]+):.*##", text, re.M))


def test_readme_names_what_exists() -> None:
    """A dead link in the first page is the first impression."""
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", (ROOT / "README.md").read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []
