"""rotad as the command sees it: HTTP over the UNIX socket. Silence is an error with a name, never an empty answer."""

from __future__ import annotations

import http.client
import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from pydantic import TypeAdapter, ValidationError

from rota.control.state import Alarm, Association, Event, Intent, Problem, ServiceState, Status, Window
from rota.said import Said

SOCKET = Path("/run/rota/rotad.sock")
PAGE = 5_000  # events in one answer, as many as the API gives
ACT_SECONDS = 60.0
STREAM_SILENCE = 45.0  # s: three heartbeats that did not come
T = TypeVar("T")


class Silent(Said):
    """rotad does not answer: nothing is known, and nothing was done."""


class Declined(Said):
    """rotad answered, and did not do it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.title)
        self.problem = problem


def dial(path: Path, within: float) -> socket.socket:
    """Connect to a UNIX socket, and wait for a place in its queue: a socket with a time-out of Python's would not.

    OSError when nothing came of it within so many seconds (connect(2), socket(7) SO_SNDTIMEO).
    """
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(within), int(within % 1 * 1_000_000)))
        link.connect(str(path))
        link.settimeout(within)
    except BaseException:
        link.close()
        raise
    return link


class Connection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("rotad", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = dial(self._path, self.timeout or ACT_SECONDS)


class Rotad:
    """The rotad of this node. Every method raises Silent or Declined, and nothing else for what rotad does."""

    def __init__(self, path: Path | None = None, *, person: str | None = None, timeout: float = 5.0) -> None:
        """`person` is for whom root acts; `timeout` in seconds is the longest wait for an answer."""
        self.path = path or Path(os.environ.get("ROTA_SOCKET", SOCKET))
        self.person = person
        self._timeout = timeout

    def status(self) -> Status:
        """Everything at this moment."""
        return self._get(TypeAdapter(Status), "/v1/status")

    def service(self, name: str) -> ServiceState:
        """One service."""
        return self._get(TypeAdapter(ServiceState), f"/v1/services/{quote(name, safe='')}")

    def associations(self, service: str | None = None) -> list[Association]:
        """Who is connected now."""
        return self._get(TypeAdapter(list[Association]), "/v1/associations", service=service)

    def events(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        service: str | None = None,
        limit: int | None = None,
        *,
        general: bool = False,
    ) -> list[Event]:
        """The journal, oldest first: the newest `limit`, or without a limit all of it, page by page from its end.

        With `general` also what is about no service, beside what is about `service`.
        """
        wanted = limit if limit is not None else 10**9
        adapter = TypeAdapter(list[Event])
        pages: list[list[Event]] = []
        seen: set[int] = set()
        more = {"general": "true"} if general else {}
        while len(seen) < wanted:
            size = min(PAGE, wanted - len(seen) + (1 if seen else 0))
            page = self._get(
                adapter, "/v1/events", since=_text(since), until=_text(until), service=service, limit=size, **more
            )
            new = [event for event in page if event.id not in seen]
            pages.append(new)
            seen.update(event.id for event in new)
            if len(page) < size or not new:
                break
            # Pages meet at an instant that both hold; a page of events all at one instant cannot be passed, and ends it.
            until = page[0].at
        return [event for page in reversed(pages) for event in page][-wanted:]

    def alarms(self) -> list[Alarm]:
        """What a person should look at."""
        return self._get(TypeAdapter(list[Alarm]), "/v1/alarms")

    def intend(self, body: dict[str, Any]) -> list[Intent]:
        """Ask for a drain, a halt or the end of either."""
        return self._post(TypeAdapter(list[Intent]), "/v1/intents", body)

    def windows(self) -> list[Window]:
        """Maintenance windows: planned, running, and the last that have been."""
        return self._get(TypeAdapter(list[Window]), "/v1/windows")

    def plan(self, body: dict[str, Any]) -> Window:
        """Ask for a maintenance window."""
        return self._post(TypeAdapter(Window), "/v1/windows", body)

    def call_off(self, window: str, body: dict[str, Any]) -> Window:
        """Have a planned window called off."""
        return self._post(TypeAdapter(Window), f"/v1/windows/{quote(window, safe='')}/call-off", body)

    def failover(self, body: dict[str, Any]) -> list[str]:
        """Ask for a failover; gives the groups that are being handed over. rotad judges the peer first: it takes longer."""
        return self._post(TypeAdapter(list[str]), "/v1/failover", body)

    def audit(self, body: dict[str, Any]) -> Event:
        """Have the journal note what somebody did elsewhere."""
        # no act: nobody waits a minute for it
        return self._parsed(TypeAdapter(Event), self.ask("POST", "/v1/audit", json.dumps(body), within=self._timeout))

    @contextmanager
    def stream(self) -> Iterator[Iterator[Event]]:
        """Changes from now on. The iterator ends when rotad ends the stream; Silent when nothing is heard any more."""
        connection = Connection(self.path, STREAM_SILENCE)
        try:
            response = self._send(connection, "GET", "/v1/events/stream", None)
            yield self._events_of(response)
        finally:
            connection.close()

    @contextmanager
    def relay(self) -> Iterator[Iterator[bytes]]:
        """The same as it is on the wire, line by line and with its heartbeats, to be handed on."""
        connection = Connection(self.path, STREAM_SILENCE)
        try:
            response = self._send(connection, "GET", "/v1/events/stream", None)
            yield self._lines_of(response)
        finally:
            connection.close()

    def _lines_of(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        while True:
            try:
                line = response.readline()
            except (OSError, http.client.HTTPException):
                raise Silent(f"rotad fell silent on {self.path}") from None
            if not line:
                return
            yield line

    def _events_of(self, response: http.client.HTTPResponse) -> Iterator[Event]:
        adapter = TypeAdapter(Event)
        kind = ""
        for line in self._lines_of(response):
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data" and kind != "lagging":
                yield self._parsed(adapter, value.encode())

    def _get(self, adapter: TypeAdapter[T], path: str, **query: str | int | None) -> T:
        asked = urlencode({key: value for key, value in query.items() if value is not None})
        return self._parsed(adapter, self.ask("GET", f"{path}?{asked}" if asked else path, None))

    def _post(self, adapter: TypeAdapter[T], path: str, body: dict[str, Any]) -> T:
        return self._parsed(adapter, self.ask("POST", path, json.dumps(body)))

    def ask(self, method: str, path: str, body: str | None = None, *, within: float | None = None) -> bytes:
        """One request as it stands, within so many seconds; gives the body of the answer."""
        # An act waits much longer: giving up on one that is being done, perhaps by the peer, would be a lie.
        connection = Connection(self.path, within or (max(self._timeout, ACT_SECONDS) if body else self._timeout))
        try:
            return self._read(self._send(connection, method, path, body))
        finally:
            connection.close()

    def _send(self, connection: Connection, method: str, path: str, body: str | None) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json"} if body else {}
        if self.person and body:
            headers["Rota-Person"] = self.person
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
        except PermissionError:
            raise Silent(f"{self.path} is closed to you: its folder's rights are wrong") from None
        except (OSError, http.client.HTTPException):
            raise Silent(f"rotad does not answer on {self.path}: is rota-control running?") from None
        if response.status == http.client.OK:
            return response
        raw = self._read(response)
        try:
            problem = Problem.model_validate_json(raw)
        except ValidationError:
            raise Silent(f"what answers on {self.path} is not rotad (HTTP {response.status})") from None
        raise Declined(problem)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read()
        except (OSError, http.client.HTTPException):
            raise Silent(f"rotad stopped in the middle of an answer on {self.path}") from None

    def _parsed(self, adapter: TypeAdapter[T], raw: bytes) -> T:
        try:
            return adapter.validate_json(raw)
        except ValidationError:
            raise Silent(
                f"rotad on {self.path} speaks another version than this command: `rota version` shows both"
            ) from None


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
