"""rotad, a real HAProxy and members whose pages say how they are: from the page to the switch, and back."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from contract.rotad_node import Rotad, free_port, until
from lib import haproxy
from peers.pki import Authority
from peers.tcp import Conversation, TcpPeer
from peers.web import page, read_request

pytestmark = pytest.mark.contract

FAILS = "DOWN (agent)"


@dataclass
class Page:
    """A member's page. It is a `Talk`."""

    state: str = "ready"

    def __call__(self, talk: Conversation) -> None:
        read_request(talk)
        talk.send(page(body=f'{{"state": "{self.state}"}}'.encode()))


class DeepRotad(Rotad):
    """A rotad whose agent listens where this test's HAProxy asks."""

    agent_port = 0

    def write(self) -> Path:
        config = super().write()
        config.write_text(config.read_text() + f"[deep]\nagent_port = {self.agent_port}\n")
        return config


@dataclass
class Stage:
    balancer: haproxy.Haproxy
    rotad: DeepRotad
    pages: dict[str, Page]

    def status(self, name: str) -> str:
        return self.balancer.stat("web", name)["status"]

    def wait(self, name: str, status: str, within: float = 20) -> None:
        until(lambda: self.status(name).startswith(status), within=within, what=f"{name}: {status}; {self.rotad.log()}")


@pytest.fixture
def stage(daemon_root: Path, tmp_path: Path) -> Iterator[Stage]:
    root = daemon_root.resolve()
    with ExitStack() as stack:
        pages = {"a": Page(), "b": Page()}
        peers = {name: stack.enter_context(TcpPeer(talk)) for name, talk in pages.items()}
        document = haproxy.site(
            {
                "web": {
                    "profile": "rest",
                    "address": "127.0.0.86",
                    "port": free_port(),
                    "members": {name: {"address": "127.0.0.1", "port": peer.port} for name, peer in peers.items()},
                    "check": "tcp",
                    "deep": [
                        {
                            "kind": "http",
                            "interval": "10s",
                            "retry": "1s",
                            "timeout": "2s",
                            "json_values": {"$.state": "ready"},
                        }
                    ],
                }
            },
            nodes={"lb1": {"address": "127.0.0.87"}},
        )
        balancer = stack.enter_context(haproxy.prepared(root, document, haproxy_health_port=free_port()))
        port = free_port()
        config = balancer.folder / "haproxy.cfg"
        config.write_text(
            config.read_text().replace("agent-inter 10s", "agent-inter 2s").replace("agent-port 8405", f"agent-port {port}")
        )
        balancer.start()
        stack.callback(balancer.stop)
        folder = balancer.folder
        place: Any = SimpleNamespace(folder=folder, socket=folder / "haproxy/admin.sock", state=folder / "server-state")
        rotad = DeepRotad("lb1", tmp_path / "lb1", place, free_port(), {}, document, Authority(tmp_path / "ca"))
        rotad.agent_port = port
        stack.callback(rotad.kill)
        rotad.start()
        yield Stage(balancer, rotad, pages)


def test_from_the_page_to_the_switch_and_back(stage: Stage) -> None:
    until(lambda: (stage.rotad.member("web", "a")["deep"] or "").startswith("up: http: ok"), within=10)
    stage.pages["a"].state = "full"
    stage.wait("a", FAILS)
    assert stage.status("b").startswith("UP")
    until(lambda: stage.rotad.member("web", "a")["verdict"] == "cannot-store")
    found = stage.rotad.member("web", "a")
    assert found["reason"] == "http: bad-content: $.state is not ready"
    until(lambda: not stage.rotad.member("web", "a")["in_use"])
    assert [e["after"] for e in stage.rotad.events(kind="deep", member="a")][-1] == "cannot-store"
    assert "member-down:web/a" in stage.rotad.alarms()
    stage.pages["a"].state = "ready"
    stage.wait("a", "UP")
    until(lambda: stage.rotad.member("web", "a")["verdict"] == "up")


def test_when_everybody_fails_nobody_is_out_and_an_alarm_says_so(stage: Stage) -> None:
    for one in stage.pages.values():
        one.state = "full"
    until(lambda: "deep-brake:web" in stage.rotad.alarms(), within=25)
    for name in stage.pages:
        stage.wait(name, "UP", within=3)
    assert "kept in" in stage.rotad.member("web", "a")["deep"]
    stage.pages["b"].state = "ready"
    stage.wait("a", FAILS)


def test_a_killed_rotad_holds_nobody_down_once_there_is_one_again(stage: Stage) -> None:
    stage.pages["a"].state = "full"
    stage.wait("a", FAILS)
    stage.rotad.kill()
    stage.pages["a"].state = "ready"
    assert stage.status("a") == FAILS
    began = time.monotonic()
    stage.rotad.start()
    stage.wait("a", "UP", within=3)
    assert time.monotonic() - began < 12, "it was HAProxy's patience that ended, and not the new rotad"


def test_an_end_in_good_order_holds_nobody_down(stage: Stage) -> None:
    stage.pages["a"].state = "full"
    stage.wait("a", FAILS)
    assert stage.rotad.stop() == 0
    assert stage.status("a").startswith("UP")


def test_a_rotad_that_hangs_holds_nobody_down(stage: Stage) -> None:
    stage.pages["a"].state = "full"
    stage.wait("a", FAILS)
    stage.rotad.signal(signal.SIGSTOP)
    stage.wait("a", "UP", within=40)
