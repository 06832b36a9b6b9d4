"""Sends files with storescu until each has been acknowledged. Runs in the lab's client; only the standard library.

Usage: sender.py HOST PORT CALLED_AE IMAGES_PER_ASSOCIATION PAUSE GIVE_UP_AFTER FOLDER

Prints one JSON line per event: `stored` (file, attempt), `failed` (why, and how many files go back into the
queue), and `gave-up`. Times are seconds of this machine's monotonic clock.
"""

import json
import re
import subprocess
import sys
import time
from collections import Counter, deque
from pathlib import Path


def say(event: str, **fields: object) -> None:
    """Print one event with its time."""
    print(json.dumps({"at": round(time.monotonic(), 4), "event": event, **fields}), flush=True)


def associate(command: list[str], attempts: Counter[str]) -> tuple[set[str], str | None]:
    """Send one association's files; return those that were acknowledged, and what went wrong if anything did."""
    current, stored, why = "", set[str](), None
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603 (our own storescu)
    for line in process.stdout or []:
        if found := re.match(r"I: Sending file: (.*)", line):
            current = found.group(1)
            attempts[current] += 1
        elif found := re.match(r"I: Received Store Response \((.*)\)", line):
            if found.group(1) == "Success":
                stored.add(current)
                say("stored", file=Path(current).name, attempt=attempts[current])
            else:
                why = found.group(1)
        elif found := re.match(r"[EF]: (?!Store Failed|$)(?:\S+:\S+ )?(.+)", line):
            why = why or re.sub(r"^[0-9a-f]{4}:[0-9a-f]{4} ", "", found.group(1).split(": ")[-1].strip())
    process.wait()
    return stored, why


def main() -> int:
    """Work through the folder's files, oldest first; what failed is sent again before what is new."""
    host, port, called, images, pause, give_up, folder = sys.argv[1:]
    queue = deque(str(path) for path in sorted(Path(folder).glob("*.dcm")))
    attempts: Counter[str] = Counter()
    end = time.monotonic() + float(give_up)
    base = ["storescu", "-v", "-to", "1", "-ta", "3", "-td", "3", "-aet", "MODALITY", "-aec", called, host, port]
    while queue:
        if time.monotonic() > end:
            say("gave-up", left=len(queue))
            return 1
        batch = [queue.popleft() for _ in range(min(int(images), len(queue)))]
        stored, why = associate([*base, *batch], attempts)
        again = [file for file in batch if file not in stored]
        if again:
            say("failed", why=why or "storescu said nothing", again=len(again))
            queue.extendleft(reversed(again))
        time.sleep(float(pause))
    return 0


if __name__ == "__main__":
    sys.exit(main())
