"""Bring the lab hosts up as described, or take everything down again.

Usage: lab_hosts.py up FOLDER < SPEC    lab_hosts.py down FOLDER

FOLDER is the lab's working folder. SPEC is JSON: `network`, `images` (node, peer), `hosts` (name → kind,
address, address6, ae_title), `wanted` (the hosts to make), `names` (more names for /etc/hosts → addresses),
`orthanc` (settings of every PACS). Only what differs from SPEC is made anew. Prints one line per change.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lab_certs
import lab_network
from lab_network import podman

PREFIX = "rota-lab-"
BOOT_SECONDS = 60
PORTS = {"pacs": [4242, 8042, 8443, 2762], "hl7": [2575, 2576], "xds": [8080, 8443]}
CAPABILITIES = "SYS_ADMIN,NET_ADMIN,NET_RAW,SYS_PTRACE,SYS_NICE,AUDIT_WRITE"
LOOPBACK = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"

Spec = dict[str, Any]


def hosts_file(spec: Spec) -> str:
    """Return /etc/hosts for the lab: without it DCMTK stalls 15 s on a reverse look-up."""
    entries = [(name, host["address"], host["address6"]) for name, host in spec["hosts"].items()]
    entries += [(name, *addresses) for name, addresses in spec["names"].items()]
    lines = [f"{address} {name}" for name, *addresses in entries for address in addresses]
    return LOOPBACK + "\n".join(lines) + "\n"


def certificates(spec: Spec) -> dict[str, list[str]]:
    """Return who has a certificate and for what; `service` is for every name that a node answers to."""
    wanted = {name: [name, host["address"], host["address6"]] for name, host in spec["hosts"].items()}
    wanted["service"] = [word for name, addresses in spec["names"].items() for word in (name, *addresses)]
    return wanted


def files_of(spec: Spec, name: str) -> dict[str, str]:
    """Return what the host `name` finds in its /lab, certificates aside."""
    host = spec["hosts"][name]
    files = {"hosts": hosts_file(spec)}
    if host["kind"] == "pacs":
        settings = {"Name": name, "DicomAet": host["ae_title"], **spec["orthanc"]}
        files["orthanc.json"] = json.dumps(settings, indent=2) + "\n"
    elif host["kind"] in ("hl7", "xds"):
        files[host["kind"]] = f"{name}\n"
    return files


def lay_out(folder: Path, spec: Spec, name: str) -> str:
    """Write the /lab folder of the host `name`; return a hash of the host's whole description."""
    target = folder / "hosts" / name
    target.mkdir(parents=True, exist_ok=True)
    for file, text in files_of(spec, name).items():
        (target / file).write_text(text)
    shutil.copyfile(folder / "certs/ca.crt", target / "ca.crt")
    for suffix in (".crt", ".key", ".pem"):
        shutil.copyfile(folder / f"certs/{name}{suffix}", target / f"server{suffix}")
    sums = hashlib.sha256(json.dumps([spec["network"], run_arguments(folder, spec, name)]).encode())
    for path in sorted(target.iterdir()):
        sums.update(path.read_bytes())
    return sums.hexdigest()[:16]


def mac(address: str) -> str:
    """Return the hardware address of a host: a machine keeps its own over a reboot, and its neighbours count on that."""
    return "02:00:" + ":".join(f"{int(octet):02x}" for octet in address.split("."))


def run_arguments(folder: Path, spec: Spec, name: str) -> list[str]:
    """Return the arguments of `podman run` for the host `name`."""
    host = spec["hosts"][name]
    image = spec["images"]["node" if host["kind"] == "node" else "peer"]
    words = [f"--name={PREFIX}{name}", f"--hostname={name}", "--label=rota-lab=host",
             f"--network={spec['network']['name']}",
             f"--ip={host['address']}", f"--ip6={host['address6']}", "--no-hosts", "--dns=none",
             f"--mac-address={mac(host['address'])}",
             f"--cap-add={CAPABILITIES}", "--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined",
             "--ulimit=nofile=20000:20000", "--ulimit=nproc=20000:20000", "--cgroupns=private",
             "--env=container=podman", f"--volume={folder / 'hosts' / name}:/lab:ro"]  # fmt: skip
    if host["kind"] == "client":
        (folder / "series").mkdir(exist_ok=True)
        words.append(f"--volume={folder / 'series'}:/srv/series:ro")
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        words.append("--systemd=always")
    else:  # cgroup v1: podman would hand systemd the wrong tree; lab-init mounts the right one
        words += ["--systemd=false", "--tmpfs=/run:exec,mode=755", "--tmpfs=/run/lock", "--tmpfs=/tmp:exec,mode=1777"]
    return [*words, image]


def existing() -> dict[str, tuple[str, str]]:
    """Return the lab's containers: name → (state, fingerprint)."""
    rows = json.loads(podman("ps", "--all", "--filter=label=rota-lab=host", "--format=json"))
    return {row["Names"][0]: (row["State"], row["Labels"].get("rota-lab-spec", "")) for row in rows}


def wait_booted(name: str) -> str | None:
    """Wait until a host made just now has booted without a failed unit; return what is wrong, or None."""
    container = PREFIX + name
    boot = ["podman", "exec", container, "timeout", str(BOOT_SECONDS), "systemctl", "is-system-running", "--wait"]
    for _ in range(100):  # until systemd's socket is there: well under a second
        done = subprocess.run(boot, capture_output=True, text=True)
        if done.stdout.strip():
            break
        subprocess.run(["podman", "exec", container, "sleep", "0.1"], capture_output=True)
    if done.stdout.strip() == "running":
        return None
    failed = podman("exec", container, "systemctl", "--failed", "--plain", "--no-legend", check=False)
    return f"{name} is {done.stdout.strip() or 'not booting'}: {failed.strip() or done.stderr.strip()}"


def wait_serving(name: str, kind: str) -> str | None:
    """End the faults that a test may have left and wait until the servers listen; return what is wrong."""
    ports = PORTS.get(kind)
    if not ports:
        return None
    for words in (["lab-member", "normal"], ["lab-ready", *map(str, ports)]):
        done = subprocess.run(["podman", "exec", PREFIX + name, *words], capture_output=True, text=True)
        if done.returncode:
            return f"{name} does not serve: {done.stderr.strip()}"
    return None


def up(folder: Path, spec: Spec, say: Callable[[str], None]) -> None:
    """Make the network and every host as SPEC says; leave alone what already is."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for made in lab_certs.ensure(folder / "certs", certificates(spec)):
        say(f"certificate {made} made")
    lab_network.create(folder, spec["network"], say)
    there = existing()
    wanted = [name for name in spec["hosts"] if name in spec["wanted"]]
    fresh = []
    for name in wanted:
        container = PREFIX + name
        fingerprint = lay_out(folder, spec, name)
        state, known = there.get(container, ("", ""))
        if known == fingerprint and state == "running":
            continue
        fresh.append(name)
        if known == fingerprint:
            podman("start", container)
            say(f"{name} started")
            continue
        if state:
            podman("rm", "--force", "--time=0", container)
        podman(
            "--runtime=runc", "run", "--detach", f"--label=rota-lab-spec={fingerprint}", *run_arguments(folder, spec, name)
        )
        say(f"{name} created")
    kinds = [spec["hosts"][name]["kind"] for name in wanted]
    with ThreadPoolExecutor(max_workers=4) as pool:
        problems = [problem for problem in pool.map(wait_booted, fresh) if problem]
        problems = problems or [problem for problem in pool.map(wait_serving, wanted, kinds) if problem]
    if problems:
        raise SystemExit("\n".join(f"lab: {problem}" for problem in problems))


def down(folder: Path, say: Callable[[str], None]) -> None:
    """Remove hosts, network, images and every trace on this machine; the folder keeps the built roots."""
    if there := sorted(existing()):
        podman("rm", "--force", "--time=0", *there)
        say(f"{len(there)} hosts removed")
    lab_network.remove(folder, say)
    for image in podman("images", "--quiet", "--filter=label=rota-lab=image").split():
        podman("rmi", "--force", image, check=False)
        say(f"image {image} removed")
    for name in ("hosts", "series", "state", "certs"):
        shutil.rmtree(folder / name, ignore_errors=True)


def main() -> None:
    """Do what the command line says."""
    action, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    if action == "up":
        up(folder, json.load(sys.stdin), print)
    elif action == "down":
        down(folder, print)
    else:
        raise SystemExit(f"lab: cannot {action}")


if __name__ == "__main__":
    main()
