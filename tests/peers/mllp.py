"""HL7 receivers: the third-party `hl7` package's MLLP server, and scripted ones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from peers.tcp import (
    GARBAGE,
    HTTP_PAGE,
    Case,
    Conversation,
    closes,
    closes_after_request,
    resets_after_request,
    says,
    silent,
)

START, END = b"\x0b", b"\x1c\r"


def ack(code: str, control_id: str, *, version: str = "2.5", text: str = "") -> bytes:
    """Build an acknowledgement."""
    return (f"MSH|^~\\&|PEER|PEER|ROTA|ROTA|20260101000000||ACK|A1|P|{version}\rMSA|{code}|{control_id}|{text}\r").encode()


@dataclass
class Receiver:
    """A receiver that does all right, but for what is asked of it here. It is a `Talk`."""

    code: str = "AA"
    control_id: str | None = None
    version: str = "2.5"
    text: str = ""
    piece: int | None = None
    gap: float = 0.0
    answer: bytes | None = None
    end: bytes = END
    messages: list[str] = field(default_factory=list)

    def __call__(self, talk: Conversation) -> None:
        """Acknowledge every message of one connection."""
        while True:
            assert talk.read(1) == START, "a message begins with 0B"
            message = talk.read_until(END)[:-2].decode()
            self.messages.append(message)
            control_id = self.control_id if self.control_id is not None else message.split("|")[9]
            content = self.answer
            if content is None:
                content = ack(self.code, control_id, version=self.version, text=self.text)
            talk.send(START + content + self.end, self.piece, self.gap)


GOOD = "good"
CASES: dict[str, Case] = {
    GOOD: Case(Receiver()),
    "commit-accept": Case(Receiver(code="CA")),
    "one-byte-writes": Case(Receiver(piece=1)),
    "odd-version": Case(Receiver(version="2.3.1^DEU^2.3.1.1")),
    "no-last-return": Case(Receiver(end=b"\x1c")),
    "line-feeds": Case(Receiver(end=b"\n" + END)),
    "silent": Case(silent, "silent", GOOD),
    "closes": Case(closes, "closed", GOOD),
    "closes-after-request": Case(closes_after_request, "closed", GOOD),
    "resets-after-request": Case(resets_after_request, "closed", GOOD),
    "http": Case(says(HTTP_PAGE), "not-hl7", GOOD),
    "garbage": Case(says(GARBAGE), "not-hl7", GOOD),
    "garbage-in-a-frame": Case(Receiver(answer=GARBAGE), "not-hl7", GOOD),
    "empty-frame": Case(Receiver(answer=b""), "not-hl7", GOOD),
    "no-msa": Case(Receiver(answer=ack("AA", "X").split(b"\r")[0] + b"\r"), "not-hl7", GOOD),
    "endless-frame": Case(says(START + b"MSH|" + b"x" * 100_000), "not-hl7", GOOD),
    "application-error": Case(Receiver(code="AE", text="SECRET^PATIENT"), "bad-ack", GOOD),
    "application-reject": Case(Receiver(code="AR", text="SECRET^PATIENT"), "bad-ack", GOOD),
    "commit-error": Case(Receiver(code="CE"), "bad-ack", "commit-accept"),
    "commit-reject": Case(Receiver(code="CR"), "bad-ack", "commit-accept"),
    "unheard-of-code": Case(Receiver(code="OK"), "bad-ack", GOOD),
    "wrong-id": Case(Receiver(control_id="ANOTHER"), "wrong-ack", GOOD),
    "empty-id": Case(Receiver(control_id=""), "wrong-ack", GOOD),
    "drips": Case(Receiver(piece=1, gap=0.2), "timeout", "one-byte-writes"),
    "half-an-answer": Case(says(START + b"MSH|^~\\&|PEER"), "timeout", GOOD),
}


@contextmanager
def hl7_server(*, host: str = "127.0.0.1", ssl_context: Any = None) -> Iterator[tuple[int, list[str]]]:
    """Run the `hl7` package's MLLP server; yield its port and the list of control ids that it has received."""
    from hl7.mllp import start_hl7_server

    loop = asyncio.new_event_loop()
    ready: threading.Event = threading.Event()
    control_ids: list[str] = []
    ports: list[int] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: Any, writer: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while not writer.is_closing():
                message = await reader.readmessage()
                control_ids.append(str(message.segment("MSH")[10]))
                writer.writemessage(message.create_ack())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    async def main(stop: asyncio.Event) -> None:
        async with await start_hl7_server(serve, host=host, port=0, ssl=ssl_context) as server:
            ports.append(server.sockets[0].getsockname()[1])
            ready.set()
            await stop.wait()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(main(stop)), name="hl7", daemon=True)
    thread.start()
    try:
        assert ready.wait(5), "the MLLP server did not start"
        yield ports[0], control_ids
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)
        assert not thread.is_alive(), "the MLLP server did not end"
        loop.close()
