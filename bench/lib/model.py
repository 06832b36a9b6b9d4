"""How long the controller takes for a very large site: 300 services with 4 members each."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.lib.report import Report, Sample, Target, show
from bench.lib.root import TOP
from bench.lib.sites import large, parsed, write_inventory

BIN = TOP / ".venv/bin"


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _run(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], cwd=TOP, capture_output=True, text=True, timeout=600)
    if done.returncode:
        sys.exit(f"bench/model: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def main() -> None:
    """Measure, and print the report."""
    parser = argparse.ArgumentParser(prog="bench/model", description=__doc__)
    parser.add_argument("--services", type=int, default=300)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print figures for a program")
    options = parser.parse_args()

    from rota import haproxy, keepalived  # noqa: PLC0415 (heavy, and --help must work without)

    report = Report(
        f"{options.services} services × {options.members} members on the controller", ["step", "s, median (lowest–highest)"]
    )
    document = large(options.services, options.members)
    with tempfile.TemporaryDirectory(prefix="rota-bench-") as scratch:
        inventory = write_inventory(Path(scratch) / "site", document)
        site = parsed(document)
        steps: dict[str, tuple[int, Callable[[], object]]] = {
            "rota validate": (options.rounds, lambda: _run(BIN / "rota", "validate", inventory)),
            "rota.model.parse": (options.rounds, lambda: parsed(document)),
            "rota.haproxy.view": (options.rounds, lambda: haproxy.view(site, "lb1")),
            "rota.keepalived.view": (options.rounds, lambda: keepalived.view(site, "lb1")),
            "make render, both nodes": (
                max(1, options.rounds // 2),
                lambda: _run("make", "render", f"SITE={inventory}", f"OUT={Path(scratch) / 'out'}"),
            ),
        }
        for name, (rounds, work) in steps.items():
            sample = Sample.of([_seconds(work) for _ in range(rounds)])
            report.add(name, sample.show())
            report.figures[name] = sample
            limit = {"rota validate": 3.0, "make render, both nodes": 60.0}.get(name)
            if limit:
                report.targets.append(Target.at_most(name, sample.median, limit, "s"))
    show([report], as_json=options.json)


if __name__ == "__main__":
    main()
