"""DICOM images from storescu to storescp: straight, through HAProxy, through HAProxy as Rota sets it up, through nginx.

All programs are Debian 13's. Paths take turns in every round, so that other work on the machine hits all of them alike.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.lib import rendered
from bench.lib.calm import Calm
from bench.lib.images import make_images
from bench.lib.network import BEHIND_NODE, CLIENT, DIRECT, HOSTS, NODE, NODE_TO_CLIENT, SERVER, SERVICE, network, quickack
from bench.lib.processes import argv, cpu_tree_seconds, environment, listening, running, until
from bench.lib.report import Report, Sample, Target, figure, show
from bench.lib.root import ensure_root
from bench.lib.sites import pair, parsed

STORE_PORT, PLAIN_PORT, NGINX_PORT, ROTA_PORT = 11112, 10401, 10402, 104
CALLED = "STORE"
PLAIN, ROTA, NGINX = "HAProxy, plain TCP", "Rota", "nginx stream"

_PLAIN = f"""global
  maxconn 1000
defaults
  mode tcp
  timeout connect 5s
  timeout client 5m
  timeout server 5m
listen plain
  bind {NODE_TO_CLIENT}:{PLAIN_PORT}
  server one {BEHIND_NODE}:{STORE_PORT}
"""
_NGINX = f"""load_module modules/ngx_stream_module.so;
daemon off;
user root;
worker_processes auto;
pid /tmp/nginx.pid;
error_log stderr;
events {{ worker_connections 1000; }}
stream {{ server {{ listen {NODE_TO_CLIENT}:{NGINX_PORT}; proxy_pass {BEHIND_NODE}:{STORE_PORT}; proxy_timeout 5m; }} }}
"""


@dataclass
class Way:
    """One way for the images, and what it took in each round."""

    name: str
    host: str
    port: int
    proxy: int | None = None  # pid
    full: list[float] = field(default_factory=list)
    single: list[float] = field(default_factory=list)
    images: int = 0
    cpu: float = 0.0  # the proxy's, for all images

    def per_image(self, images: int) -> list[float]:
        """Milliseconds per image of each round: start-up and association, known from sends of one image, taken off."""
        start = statistics.median(self.single)
        return [(seconds - start) / (images - 1) * 1e3 for seconds in self.full]


def service() -> dict[str, object]:
    """A DICOM service as a hospital would write it, with both AE checks of the node in use."""
    return {
        "profile": "dicom",
        "address": SERVICE,
        "port": ROTA_PORT,
        "members": {"one": {"address": BEHIND_NODE, "port": STORE_PORT, "called_ae": CALLED, "max_associations": 50}},
        "routes": {CALLED: ["one"]},
        "allow": {"calling_ae": ["STORESCU"]},
    }


def hosts(root: Path) -> None:
    """Give every address of the measurement a name: DCMTK asks for the caller's, and would wait for DNS."""
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{HOSTS}")


@contextlib.contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """A folder in memory below `root`, so that no disk is measured."""
    folder = root / "mnt"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "rota-bench", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def send(way: Way, root: Path, names: list[str], env: dict[str, str]) -> float:
    """Seconds that storescu takes for the images `names` in one association."""
    files = [f"/mnt/images/{name}" for name in names]
    command = argv(["storescu", "-aec", CALLED, way.host, str(way.port), *files], end=CLIENT, root=root)
    start = time.perf_counter()
    done = subprocess.run(command, env=environment(env), capture_output=True, text=True, timeout=300)
    took = time.perf_counter() - start
    way.images += len(names)
    if done.returncode:
        raise RuntimeError(f"storescu by way of {way.name}: {done.stdout}{done.stderr}")
    return took


def reaches(way: Way, root: Path, names: list[str], env: dict[str, str]) -> bool:
    """Whether an image gets through."""
    try:
        send(way, root, names[:1], env)
    except RuntimeError:
        return False
    return True


def series(root: Path, names: list[str], rounds: int, env: dict[str, str], calm: Calm) -> list[Way]:
    """All ways, measured in turn `rounds` times with `env` at both DICOM ends."""
    folder = root / "mnt"
    (folder / "stored").mkdir(exist_ok=True)
    (folder / "plain.cfg").write_text(_PLAIN)
    (folder / "nginx.conf").write_text(_NGINX)
    scp = ["storescp", "--aetitle", CALLED, "--output-directory", "/mnt/stored", str(STORE_PORT)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(network())
        quickack(NODE)  # as role base has it on a node, and to the good of every proxy alike

        def start(command: list[str], end: str, port: int, extra: dict[str, str] | None = None) -> int:
            log = folder / f"{port}.log"
            process = stack.enter_context(running(command, end=end, root=root, env=extra, log=log))
            until(lambda: listening(port, process.pid), within=10, what=f"{command[0]} on port {port}")
            return process.pid

        server = start(scp, SERVER, STORE_PORT, env)
        ways = [
            Way("direct", DIRECT, STORE_PORT),
            Way(PLAIN, NODE_TO_CLIENT, PLAIN_PORT, start(["haproxy", "-db", "-f", "/mnt/plain.cfg"], NODE, PLAIN_PORT)),
            Way(
                ROTA, SERVICE, ROTA_PORT, start(rendered.install(root, parsed(pair({"store": service()}))), NODE, ROTA_PORT)
            ),
            Way(NGINX, NODE_TO_CLIENT, NGINX_PORT, start(["nginx", "-c", "/mnt/nginx.conf"], NODE, NGINX_PORT)),
        ]
        for way in ways:
            until(lambda: reaches(way, root, names, env), within=20, every=0.5, what=f"an image by way of {way.name}")  # noqa: B023
            send(way, root, names, env)  # warm, not counted
            way.images = 0
            way.cpu = -cpu_tree_seconds(way.proxy) if way.proxy else 0.0
        pids = [way.proxy for way in ways if way.proxy] + [server]

        def own() -> float:
            ended = resource.getrusage(resource.RUSAGE_CHILDREN)
            return ended.ru_utime + ended.ru_stime + sum(map(cpu_tree_seconds, pids))

        for turn in range(rounds):
            first = turn % len(ways)
            for way in ways[first:] + ways[:first]:
                way.single.append(calm.measure(lambda: send(way, root, names[:1], env), own))  # noqa: B023
                way.full.append(calm.measure(lambda: send(way, root, names, env), own))  # noqa: B023
        for way in ways:
            way.cpu += cpu_tree_seconds(way.proxy) if way.proxy else 0.0
        return ways


def add(report: Report, title: str, ways: list[Way], images: int) -> dict[str, float]:
    """Add the rows of one series; returns how fast each way is, direct = 1."""
    direct = statistics.median(ways[0].per_image(images))
    ratios = {}
    for way in ways:
        sample = Sample.of(way.per_image(images))
        ratios[way.name] = direct / sample.median
        cpu = way.cpu / way.images * 1e3 if way.proxy else None
        single = Sample.of([seconds * 1e3 for seconds in way.single])
        speed, cost = f"{ratios[way.name]:.2f}×", "–" if cpu is None else f"{cpu:.2f}"
        report.add("" if way is not ways[0] else title, way.name, sample.show(), speed, figure(single.median), cost)
        report.figures[f"{title}, {way.name}"] = {
            "ms_per_image": sample,
            "ratio": ratios[way.name],
            "ms_one_image": single,
            "node_cpu_ms": cpu,
        }
    return ratios


def main() -> None:
    """Measure, and print the report."""
    parser = argparse.ArgumentParser(prog="bench/data", description=__doc__)
    parser.add_argument("--images", type=int, default=200, help="images per association with TCP_NODELAY")
    parser.add_argument("--slow-images", type=int, default=30, help="images per association with DCMTK's defaults")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--patience", type=float, default=180, help="seconds to wait in all for the machine to be idle")
    parser.add_argument("--json", action="store_true", help="print figures for a program")
    options = parser.parse_args()
    report = Report(
        "storescu → storescp, 512 KiB CT images in one association",
        [
            "",
            "way",
            "ms per image (lowest–highest)",
            "speed, direct = 1",
            "one image alone, ms",
            "proxy CPU ms/image",
        ],
    )
    root = ensure_root()
    hosts(root)
    calm = Calm(options.patience)
    with scratch(root) as folder:
        names = make_images(folder / "images", max(options.images, options.slow_images))
        slow = add(report, *_run(root, names[: options.slow_images], max(5, options.rounds // 2), {}, calm))
        fast = add(report, *_run(root, names[: options.images], options.rounds, {"TCP_NODELAY": "1"}, calm))
    report.targets += [
        Target.at_least("defaults: Rota against direct", slow[ROTA], 10, "×"),
        Target.at_least("TCP_NODELAY: Rota against direct", fast[ROTA], 0.85, "×"),
        Target.at_most("TCP_NODELAY: Rota slower than plain HAProxy", (fast[PLAIN] / fast[ROTA] - 1) * 100, 10, "%"),
        Target.at_least("defaults: Rota against nginx", slow[ROTA] / slow[NGINX], 1, "×"),
        Target.at_least("TCP_NODELAY: Rota against nginx", fast[ROTA] / fast[NGINX], 1, "×"),
    ]
    report.notes.append(calm.note())
    show([report], as_json=options.json)


def _run(root: Path, names: list[str], rounds: int, env: dict[str, str], calm: Calm) -> tuple[str, list[Way], int]:
    return ("TCP_NODELAY" if env else "DCMTK defaults"), series(root, names, rounds, env, calm), len(names)


if __name__ == "__main__":
    main()
