"""Store files as a modality does: DCMTK's storescu, one association per file, sent again until stored.

Usage: store_loop.py HOST PORT CALLED CALLING ROUNDS FILE...

Prints one JSON line per attempt: file, round, attempt, began, ended (seconds since 1970), ok, said. ROUNDS 0
goes on until stdin closes; the attempt that runs then is finished first.
"""

import itertools
import json
import select
import subprocess
import sys
import time
from pathlib import Path

# Seconds for TCP, for the association, for each answer: a modality's own are longer, a test's may not be.
LIMITS = ["-to", "3", "-ta", "4", "-td", "4"]
ATTEMPTS = 60


def send(host: str, port: str, called: str, calling: str, file: str) -> tuple[bool, str]:
    """Send one file over an association of its own; return whether it was stored, and what DCMTK said."""
    words = ["storescu", *LIMITS, "-aec", called, "-aet", calling, host, port, file]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    return done.returncode == 0, (done.stdout + done.stderr).strip()


def told_to_stop() -> bool:
    """Tell whether stdin has been closed."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def main() -> None:
    """Send every file, ROUNDS times."""
    host, port, called, calling, rounds, *files = sys.argv[1:]
    for turn in itertools.count(1) if rounds == "0" else range(1, int(rounds) + 1):
        for file in files:
            if rounds == "0" and told_to_stop():
                return
            for attempt in range(1, ATTEMPTS + 1):
                began = time.time()
                ok, said = send(host, port, called, calling, file)
                line = {"file": Path(file).name, "round": turn, "attempt": attempt, "began": began, "ended": time.time()}
                print(json.dumps({**line, "ok": ok, "said": said}), flush=True)
                if ok:
                    break
                time.sleep(0.1)


if __name__ == "__main__":
    main()
