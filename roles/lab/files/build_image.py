"""Build the images of the lab hosts and bring them into podman.

Usage: build_image.py KIND CACHE LOCK

KIND is `node` (a bare Debian 13) or `peer` (the same with the servers and the client of the lab). CACHE
keeps the built roots, named by a hash of all that goes into them; LOCK pins the Python packages of `peer`.
Prints the image reference; prints nothing else unless it had to build or import, and then on stderr.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import lab_debian

HERE = Path(__file__).resolve().parent
PACKAGES = {
    # What an installer without extra tasks leaves, as far as it matters in a container.
    "node": ["ca-certificates", "dbus", "iproute2", "iputils-ping", "kmod", "netbase", "procps", "python3",
             "python3-apt", "systemd-sysv"],
    "peer": ["curl", "dcmtk", "iperf3", "libnginx-mod-stream", "nginx-light", "openssl", "orthanc",
             "orthanc-dicomweb", "tcpdump"],
}  # fmt: skip
ENABLED = ["rota-lab-hl7.service", "rota-lab-xds.service", "rota-lab-dicom-tls.service",
           "rota-lab-https.service"]  # fmt: skip
DISABLED = ["nginx.service"]
RECIPE = 1  # raise it when `build` makes something else of the same ingredients
SYSTEMCTL = 'chroot "$1" systemctl --quiet'  # the image's own: the builder may have none


def digest(kind: str, lock: Path) -> str:
    """Return a short hash of everything that decides what the image `kind` holds."""
    sums = hashlib.sha256()
    kinds = ["node"] if kind == "node" else ["node", "peer"]
    paths = [path for name in kinds for path in sorted((HERE / name).rglob("*")) if path.is_file()]
    paths += [lock] if kind == "peer" else []
    sums.update(f"{RECIPE} {[PACKAGES[name] for name in kinds]} {ENABLED} {DISABLED}".encode())
    for path in paths:
        sums.update(str(path.name).encode() + b"\0" + path.read_bytes())
    return sums.hexdigest()[:12]


def python_packages(lock: Path, target: Path) -> None:
    """Put the packages of `lock` for the images' Python 3.13 into `target`."""
    choose = ["--python-version=3.13", "--implementation=py", "--only-binary=:all:", "--platform=any", "--abi=none"]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--disable-pip-version-check"]
    subprocess.run([*pip, "--root-user-action=ignore", "--no-deps", "--require-hashes", *choose, f"--target={target}",
                    "-r", str(lock)], check=True, stdout=sys.stderr)  # fmt: skip


def build(kind: str, target: Path, base: Path | None, lock: Path) -> None:
    """Make the root tree of `kind` as the tar `target`; `peer` begins with the tar `base`."""
    with tempfile.TemporaryDirectory(prefix="rota-lab-") as folder:
        work = Path(folder)
        (work / "trixie.list").write_text("\n".join(lab_debian.sources()) + "\n")
        command = ["mmdebstrap", "--quiet", "--format=tar", f"--include={','.join(PACKAGES[kind])}"]
        command += [f"--aptopt={line}" for line in [*lab_debian.fetch_options(), 'APT::Install-Recommends "false"']]
        if base is None:
            command += ["--variant=minbase", "--dpkgopt=force-unsafe-io"]
            command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")]
        else:
            python_packages(lock, work / "python")
            (work / "lab.pth").write_text("/opt/lab/python\n/usr/local/lib/rota-lab\n")
            command += [
                "--variant=custom",
                f"--setup-hook=tar -C \"$1\" -xf '{base}'",
                '--customize-hook=mkdir -p "$1/opt/lab/python"',
                f"--customize-hook=sync-in {work}/python /opt/lab/python",
                f"--customize-hook=upload {work}/lab.pth /usr/lib/python3/dist-packages/lab.pth",
                '--customize-hook=chroot "$1" python3 -m compileall -q /opt/lab/python',
                f"--customize-hook={SYSTEMCTL} disable {' '.join(DISABLED)}",
            ]
        command += [f"--customize-hook=cp -RT --preserve=mode '{HERE / kind}' \"$1\""]
        if base is not None:
            command += [f"--customize-hook={SYSTEMCTL} enable {' '.join(ENABLED)}"]
        # A bare host knows no mirror of ours, and no image carries the builder's name or settings.
        strip = ["etc/hostname", "etc/resolv.conf", "etc/apt/sources.list", "etc/apt/sources.list.d/*",
                 "etc/apt/apt.conf.d/99mmdebstrap", "etc/apt/trusted.gpg.d/*", "var/log/apt/*", "var/log/*.log"]  # fmt: skip
        command += [f'--customize-hook=cd "$1" && rm -f {" ".join(strip)}']
        unfinished = target.with_suffix(".part")
        subprocess.run([*command, lab_debian.SUITE, str(unfinished), str(work / "trixie.list")],
                       check=True, stdout=sys.stderr)  # fmt: skip
        unfinished.rename(target)


def ensure_root(kind: str, cache: Path, lock: Path) -> Path:
    """Return the tar of the root tree of `kind`, built if the cache lacks it; older ones are dropped."""
    target = cache / f"{kind}-{digest(kind, lock)}.tar"
    if not target.exists():
        base = ensure_root("node", cache, lock) if kind == "peer" else None
        print(f"lab: building the {kind} image", file=sys.stderr)
        cache.mkdir(parents=True, exist_ok=True)
        build(kind, target, base, lock)
        for old in cache.glob(f"{kind}-*.tar"):
            if old != target:
                old.unlink()
    return target


def main() -> None:
    """Print the reference of the image asked for, in podman for sure."""
    kind, cache, lock = sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3]).resolve()
    if kind not in PACKAGES:
        raise SystemExit(f"lab: no image is called {kind}")
    reference = f"localhost/rota-lab-{kind}:{digest(kind, lock)}"
    if subprocess.run(["podman", "image", "exists", reference]).returncode != 0:
        root = ensure_root(kind, cache, lock)
        changes = ["--change=ENTRYPOINT [\"/usr/local/sbin/lab-init\"]", "--change=STOPSIGNAL SIGRTMIN+3",
                   "--change=LABEL rota-lab=image"]  # fmt: skip
        subprocess.run(["podman", "import", "--quiet", *changes, str(root), reference], check=True, stdout=sys.stderr)
    print(reference)


if __name__ == "__main__":
    main()
