"""Configuration, clocks, alarms in force, and the words to systemd."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rota.control.board import Board
from rota.control.clock import Clock, JumpWatch
from rota.control.config import BadConfig, load
from rota.control.notify import Notifier
from unit.control.clocks import Hands

CONFIG = """node = "lb1"
site = "/etc/rota/site.json"
state_directory = "/var/lib/rota"
run_directory = "/run/rota"
haproxy_socket = "/run/haproxy/admin.sock"
haproxy_state = "/var/lib/rota/haproxy/server-state"
[peer]
listen = "203.0.113.11"
port = 8407
ca = "/etc/rota/peer/ca.pem"
certificate = "/etc/rota/peer/node.pem"
key = "/etc/rota/peer/node.key"
[journal]
days = 400
mebibytes = 512
"""
KEYS = [line.split(" = ")[0] for line in CONFIG.splitlines() if " = " in line]


def test_a_whole_configuration(tmp_path: Path) -> None:
    (tmp_path / "c").write_text(
        CONFIG + '[peer.addresses]\nlb2 = "[2001:db8::2]:8407"\n[pace]\nfollow = 0.5\n[mail]\nto = "x"\n'
    )
    config = load(tmp_path / "c")
    assert config.peer.addresses == {"lb2": ("2001:db8::2", 8407)}
    assert config.pace.follow == 0.5
    assert config.track_directory == Path("/run/rota/track")
    assert config.raw["mail"] == {"to": "x"}


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    (tmp_path / "c").write_text(re.sub(rf"^{key} = .*\n", "", CONFIG, flags=re.M))
    with pytest.raises(BadConfig, match=rf"^{tmp_path}/c: ([a-z]+\.)?{key} is missing$"):
        load(tmp_path / "c")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("node =", "is not valid TOML"),
        (CONFIG.replace("8407", '"8407"'), "peer.port: '8407' is not a number from 1 to 65535"),
        (CONFIG.replace("8407", "0"), "peer.port: 0 is not a number from 1 to 65535"),
        (CONFIG.replace('"lb1"', "1"), "node is not a text"),
        (CONFIG.replace("[peer]", "[pier]"), "the table [peer] is missing"),
        (CONFIG + "[pace]\nfolow = 1\n", "pace.folow is unknown"),
        (CONFIG + "[pace]\nfollow = 0\n", "pace.follow: 0 is not a number of seconds up to 60"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "c").write_text(text)
    with pytest.raises(BadConfig) as problem:
        load(tmp_path / "c")
    assert said in str(problem.value)
    assert "\n" not in str(problem.value)


def test_rotad_without_a_configuration_says_so_and_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rota.control.daemon", "--config", str(tmp_path / "none")]
    top = Path(__file__).parents[3]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=20, env={"PYTHONPATH": str(top / "appliance")}, check=False
    )
    assert done.returncode == 1
    assert done.stderr == f"rotad: {tmp_path}/none: cannot be read: No such file or directory\n"


def test_rotad_with_a_mistake_in_its_alarms_says_so_and_ends(tmp_path: Path) -> None:
    """Not an alarm about alarms, which nobody would get."""
    (tmp_path / "c").write_text(CONFIG + '[alarms.mail]\nserver = "mail.example.org"\nfrom = "rota@example.org"\nto = []\n')
    command = [sys.executable, "-m", "rota.control.daemon", "--config", str(tmp_path / "c")]
    environment = {"PYTHONPATH": str(Path(__file__).parents[3] / "appliance")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=environment, check=False)
    assert (done.returncode, done.stderr) == (1, f"rotad: {tmp_path}/c: alarms.mail.to is no list of mail addresses\n")


def test_a_jump_is_seen_and_a_drift_is_not() -> None:
    hands = Hands()
    watch = JumpWatch(hands.clock)
    for _ in range(100):
        hands.pass_(60)
        hands.jump(1)  # an NTP client slews
        assert watch.jumped() == 0
    hands.jump(-3600)
    assert watch.jumped() == pytest.approx(-3600)
    assert watch.steady_for() == 0
    hands.pass_(5)
    assert watch.jumped() == 0
    assert watch.steady_for() == 5


def test_the_real_clocks_run() -> None:
    clock = Clock()
    assert clock.now().tzinfo is not None
    assert clock.steady() <= clock.steady()


def test_an_alarm_is_told_once_and_so_is_its_end() -> None:
    hands = Hands()
    told: list[tuple[str, bool]] = []
    board = Board(hands.clock, lambda alarm, raised: told.append((alarm.text, raised)))
    began = hands.now
    board.raise_("a", "warning", "one")
    hands.pass_(5)
    board.raise_("a", "warning", "two")
    board.raise_("b", "critical", "worse")
    assert [(a.text, a.since) for a in board.current()] == [("worse", hands.now), ("two", began)]
    board.clear("a")
    board.clear("a")
    assert told == [("one", True), ("worse", True), ("two", False)]


def test_a_condition_has_to_last() -> None:
    hands = Hands()
    board = Board(hands.clock, lambda *_: None)
    for wrong in (True, True, False, True, True):
        hands.pass_(4)
        board.hold("a", wrong, "warning", "x", after=5)
        assert board.current() == []
    hands.pass_(4)
    board.hold("a", True, "warning", "x", after=5)
    assert [a.key for a in board.current()] == ["a"]
    board.keep_only("a", set())
    assert board.current() == []


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears(tmp_path: Path, abstract: bool) -> None:
    address = f"@rota-test-{tmp_path.name}" if abstract else str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0", 1))
        manager.settimeout(2)
        notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"})
        assert notifier.watchdog == 30
        notifier.ready("works")
        assert manager.recv(1000) == b"READY=1\nSTATUS=works"
        notifier.alive()
        assert manager.recv(1000) == b"WATCHDOG=1"


def test_no_manager_is_no_fault(tmp_path: Path) -> None:
    assert not Notifier({}).send("READY=1")
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).send("READY=1")
    assert Notifier({"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}).watchdog is None
