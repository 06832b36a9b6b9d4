"""The agent and a real HAProxy: what it says takes a member out, and its silence never keeps one out."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from contract.rotad_node import free_port
from lib import haproxy
from lib.poll import wait_until
from rota.control import release
from rota.control.agent import Agent

pytestmark = pytest.mark.contract

OBJECTION = "store: cannot-store: status A700"


class Talker:
    """An agent in a thread of its own, that can die."""

    def __init__(self) -> None:
        self.against: dict[tuple[str, str], str] = {}
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._agent = Agent(self.against.get)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self, port: int = 0) -> None:
        self._wanted = port
        self._thread.start()
        assert self._ready.wait(5)

    def _run(self) -> None:
        self._loop.run_until_complete(self._agent.start(port=self._wanted))
        self.port = self._agent.port
        self._ready.set()
        self._loop.run_forever()

    def die(self) -> None:
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._agent.close(), self._loop).result(5)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
            self._loop.close()


def document(ports: list[int]) -> dict[str, Any]:
    members = {name: {"address": "127.0.0.1", "port": port} for name, port in zip("ab", ports, strict=True)}
    return haproxy.site(
        {
            "web": {
                "profile": "rest",
                "address": "127.0.0.84",
                "port": free_port(),
                "members": members,
                # asked so seldom that only the agent can have changed anything
                "check": {"kind": "tcp", "interval": "1h", "fast_interval": "500ms", "down_interval": "1h"},
                "deep": ["http"],
            }
        },
        nodes={"lb1": {"address": "127.0.0.85"}},
    )


@pytest.fixture
def talker() -> Iterator[Talker]:
    talker = Talker()
    talker.start()
    yield talker
    talker.die()


@pytest.fixture
def balancer(daemon_root: Path, talker: Talker) -> Iterator[haproxy.Haproxy]:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in "ab"]
        site = document([listener.getsockname()[1] for listener in listeners])
        found = stack.enter_context(haproxy.prepared(daemon_root.resolve(), site, haproxy_health_port=free_port()))
        config = found.folder / "haproxy.cfg"
        text = config.read_text().replace("agent-inter 10s", "agent-inter 200ms")
        config.write_text(text.replace("agent-port 8405", f"agent-port {talker.port}"))
        found.start()
        try:
            yield found
        finally:
            found.stop()


def test_what_the_agent_says_takes_a_member_out_and_in_again(balancer: haproxy.Haproxy, talker: Talker) -> None:
    talker.against["web", "a"] = OBJECTION
    row = balancer.wait_for("web", "a", "DOWN (agent)")
    assert OBJECTION in row["last_agt"]
    assert balancer.stat("web", "b")["status"].startswith("UP")
    talker.against.clear()
    balancer.wait_for("web", "a", "UP")


def test_a_dead_agent_takes_nobody_out(balancer: haproxy.Haproxy, talker: Talker) -> None:
    wait_until(lambda: balancer.stat("web", "a")["agent_status"] == "L7OK", within=5)
    talker.die()
    wait_until(lambda: balancer.stat("web", "a")["agent_status"] == "L4CON", within=5)
    assert balancer.stat("web", "a")["status"].startswith("UP")


def test_an_end_of_rotad_releases_what_it_held(balancer: haproxy.Haproxy, talker: Talker) -> None:
    talker.against["web", "a"] = OBJECTION
    balancer.wait_for("web", "a", "DOWN (agent)")
    talker.die()
    # the trap: by itself HAProxy waits for the agent
    wait_until(lambda: balancer.stat("web", "a")["agent_status"] == "L4CON", within=5)
    assert balancer.stat("web", "a")["status"] == "DOWN (agent)"
    assert release.main([str(balancer.folder / "haproxy/admin.sock")]) == 0
    assert balancer.stat("web", "a")["status"].startswith("UP")


def test_silence_is_no_verdict_even_when_nobody_releases(balancer: haproxy.Haproxy, talker: Talker) -> None:
    talker.against["web", "a"] = OBJECTION
    balancer.wait_for("web", "a", "DOWN (agent)")
    talker.die()
    began = time.monotonic()
    balancer.wait_for("web", "a", "UP", within=30)
    assert time.monotonic() - began > 5, "a restart of rotad alone must not let the member in"
    assert "the agent is silent" in balancer.log


def test_an_agent_that_lives_is_not_overruled(balancer: haproxy.Haproxy, talker: Talker) -> None:
    talker.against["web", "a"] = OBJECTION
    talker.against["web", "b"] = OBJECTION
    balancer.wait_for("web", "a", "DOWN (agent)")
    with pytest.raises(TimeoutError):
        balancer.wait_for("web", "a", "UP", within=22)
