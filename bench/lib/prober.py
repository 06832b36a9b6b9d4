"""Opens a new association to one address at a steady pace and writes what became of each. Runs inside the lab's client.

Needs nothing but Python's own library: the bytes of the PDUs come on standard input, as JSON made by `bench.lib.pdus`.
Writes one JSON line per association: start and end (seconds on one monotonic clock), and the outcome.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Whom to ask, how often, for how long (seconds), and the PDUs to send (hexadecimal)."""

    host: str
    port: int
    interval: float
    seconds: float
    patience: float
    request: str
    echo: str
    release: str


async def _pdu(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readexactly(6)
    return head[0], await reader.readexactly(int.from_bytes(head[2:6], "big"))


async def _echo(plan: Plan) -> str:
    reader, writer = await asyncio.open_connection(plan.host, plan.port)
    try:
        writer.write(bytes.fromhex(plan.request))
        kind, _ = await _pdu(reader)
        if kind != 2:
            return {3: "rejected", 7: "aborted"}.get(kind, f"pdu {kind}")
        writer.write(bytes.fromhex(plan.echo))
        kind, payload = await _pdu(reader)
        # (0000,0900) Status, two bytes long, must be 0000 (PS3.7 9.3.5.2)
        if kind != 4 or b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00" not in payload:
            return "bad-status"
        writer.write(bytes.fromhex(plan.release))
        await _pdu(reader)
        return "ok"
    finally:
        writer.close()


async def _attempt(plan: Plan) -> None:
    start = time.monotonic()
    try:
        outcome = await asyncio.wait_for(_echo(plan), plan.patience)
    except TimeoutError:
        outcome = "timeout"
    except asyncio.IncompleteReadError:
        outcome = "closed"
    except OSError as error:
        outcome = type(error).__name__
    print(json.dumps({"start": start, "end": time.monotonic(), "outcome": outcome}), flush=True)


async def _main(plan: Plan) -> None:
    tasks: set[asyncio.Task[None]] = set()
    begin = time.monotonic()
    for turn in range(int(plan.seconds / plan.interval)):
        await asyncio.sleep(max(0.0, begin + turn * plan.interval - time.monotonic()))
        task = asyncio.create_task(_attempt(plan))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(_main(Plan(**json.loads(sys.stdin.readline()))))
