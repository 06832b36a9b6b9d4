"""Send an HL7 feed in order, as an interface engine does: the next message only after the last one's AA.

Usage: hl7_feed.py HOST PORT PREFIX COUNT

Control ids are PREFIX0001 and so on. COUNT 0 goes on until stdin closes. A message without its acknowledgement is sent again, over a
new connection. Prints one JSON line per send: id, attempt, began, ended, acks (what came back for it: code and id), said.
"""

import itertools
import json
import select
import socket
import sys
import time

import hl7

LIMIT = 4.0
ATTEMPTS = 60
PACE = 0.02
FRAME_END = b"\x1c\x0d"


class Feed:
    """One sender with one connection that it keeps as long as it can.

    The messages are the `hl7` package's; the socket is our own, because its MLLPClient knows IPv4 only.
    """

    def __init__(self, host: str, port: int) -> None:
        """Connect at the first send."""
        self._where = (host, port)
        self._link: socket.socket | None = None

    def send(self, control_id: str) -> list[str]:
        """Send one ADT message; return the acknowledgements that came, as `AA id`."""
        if self._link is None:
            self._link = socket.create_connection(self._where, timeout=LIMIT)
        stamp = time.strftime("%Y%m%d%H%M%S")
        text = f"MSH|^~\\&|LAB|WARD|PAS|ROTA|{stamp}||ADT^A08|{control_id}|P|2.5\rPID|||ROTA-LAB||ROTA^LAB\r"
        self._link.sendall(b"\x0b" + str(hl7.parse(text)).encode() + FRAME_END)
        answer = b""
        while not answer.endswith(FRAME_END):
            more = self._link.recv(4096)
            if not more:
                raise ConnectionError("closed before the acknowledgement")
            answer += more
        frames = [frame.strip(b"\x0b\r") for frame in answer.split(b"\x1c") if frame.strip(b"\x0b\r")]
        parsed = [hl7.parse(frame.decode()) for frame in frames]
        return [f"{ack['MSA.F1']} {ack['MSA.F2']}" for ack in parsed]

    def drop(self) -> None:
        """Forget the connection."""
        if self._link is not None:
            self._link.close()
        self._link = None


def main() -> None:
    """Send the whole feed."""
    host, port, prefix, count = sys.argv[1:]
    feed = Feed(host, int(port))
    for number in itertools.count(1) if count == "0" else range(1, int(count) + 1):
        if count == "0" and select.select([sys.stdin], [], [], 0)[0]:
            return
        control_id = f"{prefix}{number:04d}"
        for attempt in range(1, ATTEMPTS + 1):
            began, acks, said = time.time(), [], ""
            try:
                acks = feed.send(control_id)
            except (OSError, hl7.HL7Exception) as problem:
                said = f"{type(problem).__name__} {problem}".strip()
                feed.drop()
            line = {"id": control_id, "attempt": attempt, "began": began, "ended": time.time(), "acks": acks, "said": said}
            print(json.dumps(line), flush=True)
            if acks:
                break
            time.sleep(0.1)
        time.sleep(PACE)


if __name__ == "__main__":
    main()
