"""The stream of changes: server-sent events (WHATWG HTML, section 9.2). A reader that is too slow is let go, aloud."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from rota.control.connection import problem
from rota.control.state import Event

WRITE_SECONDS = 10.0  # a reader that takes nothing for so long is gone
_HEARTBEAT = b": alive\n\n"
_LAGGING = b"event: lagging\ndata: too slow; ask for the journal and connect again\n\n"


class _Stream:
    """What one reader has not taken yet. None in the queue is the end."""

    def __init__(self, backlog: int) -> None:
        self.queue: asyncio.Queue[Event | None] = asyncio.Queue(backlog)
        self.lagging = False

    async def follow(self, events: AsyncIterator[Event]) -> None:
        """Take events as they come, whether the reader reads or not: rotad never waits for a reader."""
        try:
            async for event in events:
                if self.queue.full():
                    self.lagging = True
                    return
                self.queue.put_nowait(event)
        finally:
            self.end()

    def end(self) -> None:
        """Finish; what does not fit is dropped, and asking the journal brings it back."""
        if self.queue.full():
            self.queue.get_nowait()
        self.queue.put_nowait(None)


class Streams:
    """All open streams; `end` closes them."""

    def __init__(self, subscribe: Callable[[], AsyncIterator[Event]], most: int, backlog: int, heartbeat: float) -> None:
        self._subscribe = subscribe
        self._most = most
        self._backlog = backlog
        self._heartbeat = heartbeat
        self._open: set[_Stream] = set()

    def end(self) -> None:
        """Tell every stream to finish."""
        for stream in self._open:
            stream.end()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer `request` with a stream, until either side ends it."""
        if len(self._open) >= self._most:
            return problem(503, "too-many", f"{self._most} streams are open already")
        stream = _Stream(self._backlog)
        follower = asyncio.create_task(stream.follow(self._subscribe()))
        self._open.add(stream)
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        try:
            await asyncio.sleep(0)  # the follower subscribes now: the stream has all that happens after its first byte
            await answer.prepare(request)
            await self._write(answer, _HEARTBEAT)
            await self._relay(answer, stream)
        except TimeoutError:
            if request.transport:
                request.transport.abort()
        finally:
            self._open.discard(stream)
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)
        return answer

    async def _relay(self, answer: web.StreamResponse, stream: _Stream) -> None:
        while True:
            try:
                event = await asyncio.wait_for(stream.queue.get(), self._heartbeat)
            except TimeoutError:
                await self._write(answer, _HEARTBEAT)
                continue
            if event is None:
                if stream.lagging:
                    await self._write(answer, _LAGGING)
                return
            await self._write(answer, frame(event))

    async def _write(self, answer: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(WRITE_SECONDS):
            await answer.write(data)


def frame(event: Event) -> bytes:
    """One event on the wire: its id, its kind and its JSON on one line."""
    return f"id: {event.id}\nevent: {event.kind}\ndata: {event.model_dump_json()}\n\n".encode()
