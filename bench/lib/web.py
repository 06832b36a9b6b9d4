"""The status page with 1,000 members: time on the server, and bytes of a first load. rotad is in memory behind its socket.

Usage: bench/web

Targets: the median page under 100 ms, a first load (page, style, scripts, pictures) under 100 KB beyond fonts.
"""

import re
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rota.web import create_app
from rota.web.auth.people import Person, Role
from rota.web.config import parse
from rota.web.guard import SESSION
from rota.web.security import limiter
from unit.api.double import member, service
from unit.web.conftest import BASE, Rotad, settings

SERVICES, MEMBERS, ROUNDS = 250, 4, 40


def large() -> list[Any]:
    """250 services of four members in ten departments, each member with its own address, reason and count."""
    return [
        service(
            f"service-{s:03}",
            [
                member(
                    f"server-{s:03}-{m}",
                    address=f"203.0.113.{s}",
                    associations=(s * 7 + m) % 40,
                    reason=f"C-ECHO {s % 9}.{m} ms",
                )
                for m in range(MEMBERS)
            ],
            department=f"Department {s % 10}",
            addresses=[f"198.51.100.{s}"],
        )
        for s in range(SERVICES)
    ]


def main() -> int:
    """Measure, print, and say by the exit code whether the targets are met."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rotad = Rotad(folder / "rotad.sock")
        rotad.double.services = large()
        config = replace(parse(settings(folder)), rotad_socket=folder / "rotad.sock")
        app = create_app(config)
        limiter.enabled = False
        store = app.extensions["rota"].store
        store.add(Person("viewer", Role.VIEWER))
        client = app.test_client()
        with client.session_transaction(base_url=BASE) as stored:
            stored[SESSION] = store.begin("viewer")
        times, busy = [], []
        for turn in range(ROUNDS):
            # each time another 50 members have changed, and each page asks rotad anew
            at = turn * 13 % SERVICES
            rotad.double.services[at : at + 12] = [
                s.model_copy(update={"members": [m.model_copy(update={"associations": turn + 41}) for m in s.members]})
                for s in rotad.double.services[at : at + 12]
            ]
            if "rota.desk" in app.extensions:
                app.extensions["rota.desk"].watch.now(anew=True)
            began, used = time.perf_counter(), time.process_time()
            answer = client.get("/", base_url=BASE, headers={"Accept-Encoding": "gzip"})
            times.append((time.perf_counter() - began) * 1000)
            busy.append((time.process_time() - used) * 1000)
            assert answer.status_code == 200
        size = len(answer.data)
        page = client.get("/", base_url=BASE).text
        files = dict.fromkeys(re.findall(r'(?:href|src)="(/static/[^"]+)"', page)) | {"/static/vendor/nhsuk.js": None}
        loaded = {path: len(client.get(path, base_url=BASE, headers={"Accept-Encoding": "gzip"}).data) for path in files}
        rotad.close()
    first, rest = times[0], sorted(times[1:])
    median, total = statistics.median(rest), size + sum(loaded.values())
    print(f"{SERVICES * MEMBERS} members: first {first:.0f} ms, median {median:.0f} ms, worst {rest[-1]:.0f} ms")
    print(f"processor time of a page, rotad's share in this process with it: median {statistics.median(busy[1:]):.0f} ms")
    print(f"first load: page {size / 1000:.1f} KB + files {sum(loaded.values()) / 1000:.1f} KB = {total / 1000:.1f} KB")
    met = median < 100 and total < 100_000
    print("targets met" if met else "TARGETS MISSED (100 ms, 100 KB)")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
