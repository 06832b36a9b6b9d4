"""The Ansible module `rota_files`, run as Ansible runs it: all files or none, each judged before any is replaced."""

from __future__ import annotations

import grp
import json
import os
import pwd
import sys
from pathlib import Path
from typing import Any

import pytest
from lib.module import run_module

MODULE = Path(__file__).parents[2] / "plugins/modules/rota_files.py"
ME = {"owner": pwd.getpwuid(os.geteuid()).pw_name, "group": grp.getgrgid(os.getegid()).gr_name}


def run(*files: dict[str, Any], check: bool = False, **more: Any) -> dict[str, Any]:
    return run_module(MODULE, {"files": [{**ME, **file} for file in files], **more}, check=check)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "old").write_text("old\n")
    (tmp_path / "old").chmod(0o644)
    return tmp_path


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_writes_and_is_idempotent(place: Path) -> None:
    file = {"path": str(place / "new/deep"), "content": "text\n", "mode": "0640"}
    assert run(file)["changed_paths"] == [file["path"]]
    assert (place / "new/deep").read_text() == "text\n"
    assert (place / "new/deep").stat().st_mode & 0o7777 == 0o640
    again = run(file)
    assert (again["changed"], again["changed_paths"]) == (False, [])


def test_permissions_alone_are_a_change(place: Path) -> None:
    answer = run({"path": str(place / "old"), "content": "old\n", "mode": "0600"})
    assert answer["changed"]
    assert (place / "old").stat().st_mode & 0o7777 == 0o600


def test_absent_removes(place: Path) -> None:
    file = {"path": str(place / "old"), "state": "absent"}
    assert run(file)["changed"]
    assert names(place) == []
    assert not run(file)["changed"]


def test_check_mode_judges_and_changes_nothing(place: Path) -> None:
    answer = run({"path": str(place / "old"), "content": "new\n", "validate": "grep -q new %s"}, check=True)
    assert answer["changed"]
    assert (place / "old").read_text() == "old\n"
    refused = run({"path": str(place / "old"), "content": "new\n", "validate": "grep -q other %s"}, check=True)
    assert refused["failed"]
    assert names(place) == ["old"]


def test_one_refusal_keeps_all_as_they_were(place: Path) -> None:
    good = {"path": str(place / "good"), "content": "x\n"}
    bad = {"path": str(place / "old"), "content": "new\n", "validate": "sh -c 'echo line 3: no such key >&2; exit 4' %s"}
    answer = run(good, {"path": str(place / "folder/x"), "content": "x"}, bad)
    assert answer["failed"]
    assert f"{place}/old is refused, nothing was replaced" in answer["msg"]
    assert "line 3: no such key" in answer["msg"]
    assert names(place) == ["old"]
    assert (place / "old").read_text() == "old\n"


def test_unchanged_files_are_judged_on_request(place: Path) -> None:
    file = {"path": str(place / "old"), "content": "old\n", "validate": "false %s"}
    assert not run(file)["changed"]
    assert run(file, judge_all=True, check=True)["failed"]


def test_a_root_is_for_looking_at(place: Path) -> None:
    """No daemon judges there, and the accounts of the node need not exist."""
    file = {"path": "/etc/x.conf", "content": "x\n", "validate": "false %s", "owner": "nobody-at-all"}
    assert run(file, root=str(place / "out"))["changed"]
    assert (place / "out/etc/x.conf").read_text() == "x\n"


def test_a_missing_account_is_one_clear_line(place: Path) -> None:
    answer = run({"path": str(place / "x"), "content": "x\n", "owner": "nobody-at-all"})
    assert answer["failed"]
    assert "nobody-at-all" in answer["msg"]


def test_without_the_program_there_is_nothing_to_judge_yet(place: Path) -> None:
    file = {"path": str(place / "old"), "content": "new\n", "validate": "false %s"}
    answer = run(file, program=str(place / "no-daemon"))
    assert (answer["skipped"], answer["changed"], (place / "old").read_text()) == (True, False, "old\n")
    assert run(file, program=sys.executable)["failed"]


def test_a_trial_judges_all_files_together_and_leaves_nothing(place: Path) -> None:
    files = [{"path": "/a.cfg", "content": "one\n"}, {"path": "/maps/b.map", "content": "two\n"}]
    trial = "sh -c 'cd %s && cat a.cfg maps/b.map certs/k.pem && stat -c %%a certs/k.pem && test ! -e %s/refuse'"
    secrets = {"/certs/k.pem": "PRIVATE"}
    for check in (False, True):
        answer = run(*files, trial=trial.replace("%%", "%"), secrets=secrets, check=check)
        assert (answer.get("failed", False), answer["changed"]) == (False, False), answer
    answer = run(*files, {"path": "/refuse", "content": ""}, trial=trial.replace("%%", "%"), secrets=secrets)
    assert answer["failed"]
    assert "one\ntwo\n" in answer["msg"]
    assert "600" in answer["msg"], "nobody else may read it"
    assert "PRIVATE" not in json.dumps(answer)
    assert names(place) == ["old"]
    assert not Path("/a.cfg").exists()


def test_a_secret_is_written_and_shown_nowhere(place: Path) -> None:
    """Neither what was there nor what comes: not in the difference, not in what Ansible repeats of the arguments."""
    path = str(place / "old")
    secrets = {path: "PRIVATE\nKEY\n"}
    (place / "old").write_text("FORMER\n")
    answer = run({"path": path, "mode": "0600"}, secrets=secrets)
    assert ((place / "old").read_text(), answer["changed_paths"]) == (secrets[path], [path])
    assert answer["diff"][0]["after"] == "(a secret)\n"
    for word in ("PRIVATE", "KEY", "FORMER"):
        assert word not in json.dumps(answer)
    assert not run({"path": path, "mode": "0600"}, secrets=secrets)["changed"]
    assert run({"path": path}, secrets=secrets)["diff"][0]["before"].startswith("0600 ")


def test_a_file_without_any_text_is_refused(place: Path) -> None:
    answer = run({"path": str(place / "old")}, secrets={str(place / "other"): "x"})
    assert answer["failed"]
    assert "old: it has no content, and is no secret" in answer["msg"]
    assert (place / "old").read_text() == "old\n"
