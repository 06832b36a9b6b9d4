"""The helper that takes a staged configuration into use: what it does with files, without a service manager."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOOL = Path(__file__).resolve().parents[3] / "roles/haproxy/files/haproxy.py"


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The helper, at home in `tmp_path`, with a haproxy that accepts everything and a service that is stopped."""
    monkeypatch.setenv("ROTA_HAPROXY_HOME", str(tmp_path))
    monkeypatch.setenv("ROTA_HAPROXY_RUN", str(tmp_path / "run"))
    spec = importlib.util.spec_from_file_location("rota_haproxy_tool", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "judge", lambda: None)
    monkeypatch.setattr(module, "running", lambda: False)
    return module


def stage(home: Path, files: dict[str, str]) -> None:
    for name, text in {**files, "manifest": "".join(f"{name}\n" for name in files)}.items():
        path = home / "staged" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o640)


def test_the_first_one_replaces_debians(tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "haproxy.cfg").write_text("debian's\n")
    stage(tmp_path, {"haproxy.cfg": "ours\n", "maps/a.map": "a\n"})
    assert tool.main(["activate"]) == 0
    assert tool.main(["activate"]) == 0
    assert capsys.readouterr().out.split() == ["activated", "unchanged"]
    assert (tmp_path / "haproxy.cfg").read_text() == "ours\n"
    assert (tmp_path / "maps/a.map").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "previous/haproxy.cfg").read_text() == "debian's\n"


@pytest.mark.parametrize("change", ["text", "mode", "more", "less"])
def test_every_difference_counts(tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str) -> None:
    files = {"haproxy.cfg": "ours\n", "maps/a.map": "a\n"}
    stage(tmp_path, files)
    tool.main(["activate"])
    if change == "text":
        stage(tmp_path, {**files, "maps/a.map": "b\n"})
    elif change == "mode":
        (tmp_path / "staged/maps/a.map").chmod(0o600)
    else:
        stage(tmp_path, {**files, "maps/b.map": "b\n"} if change == "more" else {"haproxy.cfg": "ours\n"})
    capsys.readouterr()
    tool.main(["activate", "--check"])
    tool.main(["activate"])
    tool.main(["activate"])
    assert capsys.readouterr().out.split() == ["differs", "activated", "unchanged"]


def test_what_is_named_no_more_is_gone(tool: ModuleType, tmp_path: Path) -> None:
    stage(tmp_path, {"haproxy.cfg": "ours\n", "certs/old.pem": "key\n"})
    tool.main(["activate"])
    (tmp_path / "errors").mkdir()
    (tmp_path / "errors/503.http").write_text("the package's own\n")
    stage(tmp_path, {"haproxy.cfg": "ours\n"})
    tool.main(["activate"])
    assert not (tmp_path / "certs/old.pem").exists()
    assert not (tmp_path / "staged/certs/old.pem").exists()
    assert (tmp_path / "errors/503.http").exists()


def test_a_refusal_replaces_nothing(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage(tmp_path, {"haproxy.cfg": "ours\n"})
    tool.main(["activate"])
    stage(tmp_path, {"haproxy.cfg": "broken\n"})

    def refuse() -> None:
        raise tool.Refused("no")

    monkeypatch.setattr(tool, "judge", refuse)
    with pytest.raises(tool.Refused, match="no"):
        tool.main(["activate"])
    assert (tmp_path / "haproxy.cfg").read_text() == "ours\n"


def test_a_failed_reload_brings_the_old_files_back(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(tmp_path, {"haproxy.cfg": "ours\n", "maps/old.map": "old\n"})
    tool.main(["activate"])
    stage(tmp_path, {"haproxy.cfg": "does not start\n", "maps/new.map": "new\n"})
    loaded: list[str] = []

    def reload() -> None:
        loaded.append((tmp_path / "haproxy.cfg").read_text())
        if loaded[-1] == "does not start\n":
            raise tool.Refused("cannot bind")

    monkeypatch.setattr(tool, "running", lambda: True)
    monkeypatch.setattr(tool, "reload", reload)
    with pytest.raises(tool.Refused, match="cannot bind\nThe old configuration is back in use."):
        tool.main(["activate"])
    assert loaded == ["does not start\n", "ours\n"]
    assert (tmp_path / "maps/old.map").read_text() == "old\n"
    assert not (tmp_path / "maps/new.map").exists()


def test_staged_files_that_are_missing_are_named(tool: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "staged").mkdir()
    (tmp_path / "staged/manifest").write_text("haproxy.cfg\ncerts/web.pem\n")
    environment: dict[str, Any] = {"ROTA_HAPROXY_HOME": str(tmp_path), "PATH": "/usr/bin"}
    done = subprocess.run(["python3", TOOL, "activate"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "staged files are missing: certs/web.pem, haproxy.cfg"
