from __future__ import annotations

from pathlib import Path

import pytest
from unit.commands.conftest import Rotad, Run


@pytest.fixture
def offered(run: Run, monkeypatch: pytest.MonkeyPatch) -> object:
    def offered(words: str) -> list[str]:
        monkeypatch.setenv("_ROTA_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        return run().out.split()

    return offered


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("rota dr", ["drain"]),
        ("rota drain --wa", ["--wait"]),
        ("rota drain p", ["pacs"]),
        ("rota drain pacs pacs-", ["pacs-a", "pacs-b"]),
        ("rota drain worklist pacs-", ["pacs-b"]),
        ("rota drain --member hl", ["hl7-a", "hl7-b"]),
        ("rota who h", ["hl7"]),
    ],
)
def test_tab_offers(rotad: Rotad, offered: object, words: str, what: list[str]) -> None:
    assert callable(offered)
    assert offered(words) == what


def test_a_silent_rotad_offers_nothing(offered: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROTA_SOCKET", str(tmp_path / "none"))
    assert callable(offered)
    assert offered("rota drain p") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script(run: Run, shell: str) -> None:
    ran = run("completion", shell)
    assert ran.code == 0
    assert "_ROTA_COMPLETE" in ran.out


def test_another_shell(run: Run) -> None:
    assert run("completion", "csh").err == "rota: no completion for 'csh'; there is one for bash, zsh, fish\n"
