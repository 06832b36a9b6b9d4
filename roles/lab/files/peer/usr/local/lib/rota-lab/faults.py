"""The switches that make a lab server misbehave: files in /run/rota-lab, set by `lab-member`."""

import json
import time
from pathlib import Path

SWITCHES = Path("/run/rota-lab")
RECORDS = Path("/var/lib/rota-lab")


def is_set(name: str) -> bool:
    """Tell whether the switch `name` (`reject`, `silent`, …) is on."""
    return (SWITCHES / name).exists()


def delay() -> float:
    """Return how many seconds each answer has to wait: the switch `slow`, else 0."""
    try:
        return float((SWITCHES / "slow").read_text())
    except (OSError, ValueError):
        return 0.0


def record(name: str, **fields: object) -> None:
    """Append one JSON line with the time to /var/lib/rota-lab/`name`.jsonl."""
    line = json.dumps({"time": round(time.time(), 6), **fields})
    with (RECORDS / f"{name}.jsonl").open("a", encoding="utf-8") as handle:
        handle.write(line + "\n")
