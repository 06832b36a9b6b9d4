"""What docs/reference/check.md shows is what the programs take."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from contract.test_keepalived import stand_in

pytestmark = pytest.mark.contract

PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/check.md").read_text()


def test_keepalived_takes_the_example(daemon_root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = re.search(r"```keepalived\n(.+?)```", PAGE, re.DOTALL)
    assert found
    command = daemon_root / "opt/rota/bin/rota"
    command.parent.mkdir(parents=True, exist_ok=True)
    stand_in(command)
    file = daemon_root / "tmp/rota-check-page.conf"

    def judge(text: str) -> subprocess.CompletedProcess[str]:
        file.write_text(text)
        argv = ["chroot", daemon_root, "keepalived", "-t", "-f", "/tmp/rota-check-page.conf"]  # noqa: S108 - in the root
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)

    try:
        done = judge(found[1])
        assert done.returncode == 0, done
        # The twin: the parser does look at these lines.
        assert judge(found[1].replace("misc_timeout", "misc_timeuot")).returncode != 0
    finally:
        file.unlink(missing_ok=True)


def test_example_command_is_understood() -> None:
    found = re.search(r'misc_path "\S+/rota (.+)"', PAGE)
    assert found
    words = shlex.split(found[1].replace("192.0.2.21:104", "127.0.0.1:70000"))
    done = subprocess.run(
        [sys.executable, "-m", "rota.cli", *words], capture_output=True, text=True, timeout=20, check=False
    )
    # Everything but the port is fine: that is the only complaint.
    assert done.stderr == "rota: 127.0.0.1:70000: 70000 is not a port (1–65535)\n"
