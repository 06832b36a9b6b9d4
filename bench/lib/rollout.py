"""How long a rollout takes in the lab: on a bare pair, and again with nothing to change."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time

from bench.lib.failover import NODES, container, podman
from bench.lib.report import Report, Sample, Target, show
from bench.lib.root import TOP

# `PLAY RECAP` of Ansible: host : ok=1 changed=2 …
_CHANGED = re.compile(r"changed=([1-9]\d*)")


def _run(*command: str) -> str:
    path = f"{TOP / '.venv/bin'}:{os.environ.get('PATH', '')}"
    env = {**os.environ, "PATH": path, "ANSIBLE_CONFIG": str(TOP / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, cwd=TOP, env=env, capture_output=True, text=True, timeout=900)
    if done.returncode:
        sys.exit(f"bench/rollout: {' '.join(command)}\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
    return done.stdout


def _site() -> tuple[float, str]:
    start = time.perf_counter()
    said = _run("ansible-playbook", "-i", "inventories/lab", "playbooks/site.yml")
    return time.perf_counter() - start, said.rpartition("PLAY RECAP")[2]


def main() -> None:
    """Measure, and print the report. The lab's two nodes are made anew in every round."""
    parser = argparse.ArgumentParser(prog="bench/rollout", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-change-only", action="store_true", help="leave the nodes as they are")
    parser.add_argument("--json", action="store_true", help="print figures for a program")
    options = parser.parse_args()
    report = Report("A rollout of the pair in the lab (playbooks/site.yml)", ["run", "s, median (lowest–highest)"])
    _run("make", "wheelhouse", "debs")
    bare: list[float] = []
    same: list[float] = []
    for _ in range(options.rounds):
        if not options.no_change_only:
            podman("rm", "--force", "--time", "0", *map(container, NODES))
        _run("make", "lab")
        seconds, _ = _site()
        bare.append(seconds)
        seconds, recap = _site()
        if _CHANGED.search(recap):
            sys.exit(f"bench/rollout: the second run changed something:\n{recap}")
        same.append(seconds)
    rows = {"nothing to change": (same, 45.0)}
    if not options.no_change_only:
        rows = {"two bare nodes": (bare, 240.0), **rows}
    for name, (values, limit) in rows.items():
        sample = Sample.of(values)
        report.add(name, sample.show())
        report.figures[name] = sample
        report.targets.append(Target.at_most(name, sample.median, limit, "s"))
    show([report], as_json=options.json)


if __name__ == "__main__":
    main()
