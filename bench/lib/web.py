"""Pages with 1,000 members: time on the server, and bytes of a first load. rotad is in memory behind its socket.

Each round changes some members and asks rotad anew, so that nothing is served from what was made before. Targets: every page
under 100 ms in the median, a first load (page, style, scripts, pictures) under 100 KB beyond fonts.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench.lib.calm import Calm
from bench.lib.report import Report, Sample, Target, show
from bench.lib.sites import large, parsed

LIMIT_MS, LIMIT_BYTES = 100.0, 100_000.0
EVENTS = 5_000
GZIP = {"Accept-Encoding": "gzip"}


def pages(service: str, member: str) -> dict[str, str]:
    """What is measured, by its name in the report."""
    return {
        "status": "/",
        "status, what needs a look": "/?show=problems",
        "status, found by name": f"/?q={member}",
        "a service": f"/service/{service}",
        "maintenance": "/maintenance/",
        "a member": f"/maintenance/member/{member}",
        "patch a server": f"/maintenance/patch/{member}",
        "failover": "/maintenance/failover/",
        f"events, {EVENTS:,} in the journal": "/events",
        "certificates": "/certificates",
    }


class Rig:
    """The app, signed in, in front of a rotad that holds a large site."""

    def __init__(self, folder: Path, services: int, members: int) -> None:
        from rota.control.state import Event
        from rota.model import dump
        from rota.web import create_app
        from rota.web.auth.people import Person, Role
        from rota.web.config import parse
        from rota.web.guard import SESSION
        from rota.web.security import limiter
        from unit.api import double
        from unit.web.conftest import BASE, Rotad, settings

        site = parsed(large(services, members))
        (folder / "site.json").write_text(json.dumps(dump(site)))
        self.base, self.rotad, self.turn = BASE, Rotad(folder / "rotad.sock"), 0
        self.rotad.double.services = [
            double.service(
                name,
                [
                    double.member(m, address=one.address, associations=n % 40, reason=f"C-ECHO {n % 9}.{n % 7} ms")
                    for n, (m, one) in enumerate(each.members.items())
                ],
                department=f"Department {index % 10}",
            )
            for index, (name, each) in enumerate(site.services.items())
        ]
        names = list(site.services)
        self.rotad.double.journal = [
            Event(
                id=n, at=double.NOON - timedelta(seconds=EVENTS - n), node="lb1", kind="verdict",
                service=names[n % len(names)], member="x", before="up", after="down", reason="silent: no association",
            )
            for n in range(EVENTS)
        ]  # fmt: skip
        self.app = create_app(replace(parse(settings(folder)), rotad_socket=folder / "rotad.sock"))
        limiter.enabled = False
        store = self.app.extensions["rota"].store
        store.add(Person("operator", Role.OPERATOR))
        self.client = self.app.test_client()
        with self.client.session_transaction(base_url=BASE) as stored:
            stored[SESSION] = store.begin("operator")
        self.service, self.member = names[len(names) // 2], next(iter(site.services[names[len(names) // 2]].members))

    def change(self) -> None:
        """Another 5 % of the members have other counts, and the next page asks rotad anew."""
        services: list[Any] = self.rotad.double.services
        size = max(1, len(services) // 20)
        self.turn += 1
        at = self.turn * 13 % len(services)
        services[at : at + size] = [
            s.model_copy(update={"members": [m.model_copy(update={"associations": self.turn + 41}) for m in s.members]})
            for s in services[at : at + size]
        ]
        self.app.extensions["rota.desk"].watch._looked = float("-inf")

    def get(self, path: str) -> bytes:
        """A page as a browser gets it."""
        answer = self.client.get(path, base_url=self.base, headers=GZIP)
        if answer.status_code != 200:
            raise SystemExit(f"bench/web: {path} answers {answer.status_code}")
        return bytes(answer.data)

    def timed(self, path: str) -> Callable[[], float]:
        """Milliseconds of one page, after a change."""

        def once() -> float:
            self.change()
            began = time.perf_counter()
            self.get(path)
            return (time.perf_counter() - began) * 1000

        return once

    def first_load(self) -> dict[str, int]:
        """Bytes of the status page and of everything that it loads."""
        text = self.client.get("/", base_url=self.base).text
        files = dict.fromkeys(re.findall(r'(?:href|src)="(/static/[^"]+)"', text)) | {"/static/vendor/nhsuk.js": None}
        return {path: len(self.get(path)) for path in ("/", *files)}


def main() -> None:
    """Measure, and print the report."""
    parser = argparse.ArgumentParser(prog="bench/web", description=__doc__)
    parser.add_argument("--services", type=int, default=250)
    parser.add_argument("--members", type=int, default=4, help="of each service")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--patience", type=float, default=120, help="seconds to wait for an idle machine, in all")
    parser.add_argument("--json", action="store_true", help="print figures for a program")
    options = parser.parse_args()
    report = Report(
        f"{options.services * options.members} members in {options.services} services",
        ["page", "ms on the server, median (lowest–highest)"],
    )
    calm = Calm(options.patience)
    with tempfile.TemporaryDirectory(prefix="rota-bench-") as scratch:
        rig = Rig(Path(scratch), options.services, options.members)
        rig.get("/")  # templates are compiled once
        for name, path in pages(rig.service, rig.member).items():
            rig.get(path)
            sample = Sample.of([calm.measure(rig.timed(path), time.process_time) for _ in range(options.rounds)])
            report.add(name, sample.show())
            report.figures[name] = sample
            report.targets.append(Target.at_most(name, sample.median, LIMIT_MS, "ms"))
        loaded = rig.first_load()
        rig.rotad.close()
    total = sum(loaded.values())
    report.figures["first load"] = loaded
    report.targets.append(Target.at_most("first load beyond fonts", total / 1000, LIMIT_BYTES / 1000, "KB"))
    page = loaded["/"] / 1000
    report.notes.append(f"First load: the page {page:.1f} KB, its files {total / 1000 - page:.1f} KB, compressed.")
    report.notes.append(calm.note())
    show([report], as_json=options.json)


if __name__ == "__main__":
    main()
