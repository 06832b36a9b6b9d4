"""Open an association every 50 ms and see how it ends: the clock of an outage.

Usage: knock.py HOST PORT CALLED CALLING

Asks for a C-ECHO context, waits for the answer and releases, with 1 s for all of it; the attempts overlap, so that one
that hangs hides nothing. Prints one JSON line per attempt: began, ended, ok, said. Ends when stdin closes.
"""

import asyncio
import json
import sys
import time

from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

PACE = 0.05
LIMIT = 1.0
RELEASE = bytes.fromhex("05000000000400000000")
ACCEPTED = 2


def request(called: str, calling: str) -> bytes:
    """Return an A-ASSOCIATE-RQ (PS3.8 9.3.2) for C-ECHO."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    context = build_context(Verification)
    context.context_id = 1
    primitive.presentation_context_definition_list = [context]
    longest = MaximumLengthNotification()
    longest.maximum_length_received = 16382
    who = ImplementationClassUIDNotification()
    who.implementation_class_uid = "1.2.826.0.1.3680043.9.3811.3"
    primitive.user_information = [longest, who]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return pdu.encode()


async def knock(host: str, port: int, asked: bytes) -> str:
    """Open one association and release it; return `ok`, or what went wrong."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(asked)
        head = await reader.readexactly(6)
        body = await reader.readexactly(int.from_bytes(head[2:6], "big"))
        if head[0] != ACCEPTED:
            return f"answered with PDU {head[0]:02x} {body[:4].hex()}"
        writer.write(RELEASE)
        await reader.readexactly(len(RELEASE))
    finally:
        writer.close()
    return "ok"


async def attempt(host: str, port: int, asked: bytes) -> None:
    """Knock once and print what came of it."""
    began = time.time()
    try:
        said = await asyncio.wait_for(knock(host, port, asked), LIMIT)
    except (OSError, asyncio.IncompleteReadError, TimeoutError) as problem:
        said = f"{type(problem).__name__} {problem}".strip()
    print(json.dumps({"began": began, "ended": time.time(), "ok": said == "ok", "said": said}), flush=True)


async def main() -> None:
    """Knock until stdin closes, then let the open attempts end."""
    host, port, called, calling = sys.argv[1:]
    asked = request(called, calling)
    closed = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    running: set[asyncio.Task[None]] = set()
    while not closed.done():
        task = asyncio.create_task(attempt(host, int(port), asked))
        running.add(task)
        task.add_done_callback(running.discard)
        await asyncio.sleep(PACE)
    await asyncio.gather(*running)


if __name__ == "__main__":
    asyncio.run(main())
