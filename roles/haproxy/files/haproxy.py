#!/usr/bin/python3
"""Take a staged HAProxy configuration into use, or put the old one back; keep health and drains over a reload.

Usage: haproxy activate [--check] | save | stop | forget | prepare | transparent-on | transparent-off

`activate` compares /etc/haproxy/staged with /etc/haproxy, has haproxy judge the staged files as they lie together, then
replaces them, reloads and looks whether the new process answers. If not, the old files come back and are loaded again.
Prints "unchanged" or "activated"; anything else is one clear message on standard error and exit 1.
"""

# ruff: noqa: S603, S607 (root's own helper: fixed commands, no shell, the PATH of the service manager)

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(os.environ.get("ROTA_HAPROXY_HOME", "/etc/haproxy"))
STAGED, PREVIOUS = HOME / "staged", HOME / "previous"
RUN = Path(os.environ.get("ROTA_HAPROXY_RUN", "/run"))
STATE, FEEDS = RUN / "haproxy/server-state", RUN / "haproxy/feeds"
# rotad's copy outlives the machine's power: the operators' drains are in it
COPY = Path(os.environ.get("ROTA_HAPROXY_COPY", "/var/lib/rota/control/server-state"))
ADMIN, MASTER = RUN / "haproxy/admin.sock", RUN / "haproxy-master.sock"
MANIFEST = "manifest"
CONFIG = "haproxy.cfg"
NFT = "transparent.nft"
TABLE, MARK = "526", "0x526f"


class Refused(Exception):
    """Why the staged configuration is not in use."""


def ask(path, command, deadline=30.0):
    """Return what the socket at `path` answers to `command`."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(deadline)
        sock.connect(str(path))
        sock.sendall(f"{command}\n".encode())
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while data := sock.recv(65536):
            answer += data
    return answer.decode(errors="replace")


def names(folder):
    """Return the names of Rota's files in `folder`, the configuration last."""
    try:
        listed = [line for line in (folder / MANIFEST).read_text().splitlines() if line]
    except FileNotFoundError:
        return []
    return sorted(listed, key=lambda name: (name == CONFIG, name))


def read(path):
    """Return text and permissions of a file; None when there is none."""
    try:
        stat = path.stat()
        return path.read_bytes(), stat.st_mode & 0o7777, stat.st_uid, stat.st_gid
    except FileNotFoundError:
        return None


def differs():
    """Whether the staged files are others than those in use."""
    if names(STAGED) != names(HOME):
        return True
    return any(read(STAGED / name) != read(HOME / name) for name in names(STAGED))


def judge():
    """Have haproxy read the staged files together."""
    missing = [name for name in names(STAGED) if not (STAGED / name).is_file()]
    if missing or CONFIG not in names(STAGED):
        raise Refused(f"staged files are missing: {', '.join(missing) or CONFIG}")
    done = subprocess.run(
        ["/usr/sbin/haproxy", "-c", "-f", STAGED / CONFIG], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        said = "\n".join(line for line in (done.stderr + done.stdout).splitlines() if "NOTICE" not in line)
        raise Refused(f"haproxy refuses the new configuration, nothing was replaced:\n{said}")


def put(source, target):
    """Copy a file with its permissions in one atomic step."""
    target.parent.mkdir(mode=0o755, exist_ok=True)
    beside = target.with_name(f".{target.name}.new")
    shutil.copy2(source, beside)
    stat = source.stat()
    os.chown(beside, stat.st_uid, stat.st_gid)
    os.rename(beside, target)


def replace(source, target):
    """Make Rota's files in `target` those of `source`: what the configuration names, then itself; then remove the rest."""
    old = set(names(target)) - set(names(source))
    for name in names(source):
        put(source / name, target / name)
    put(source / MANIFEST, target / MANIFEST)
    for name in old:
        (target / name).unlink(missing_ok=True)


def keep_previous():
    """Remember what is in use, to be able to go back."""
    shutil.rmtree(PREVIOUS, ignore_errors=True)
    PREVIOUS.mkdir(mode=0o700)
    if not (HOME / MANIFEST).exists():
        # Debian's own configuration, before the first rollout
        (HOME / MANIFEST).write_text(f"{CONFIG}\n" if (HOME / CONFIG).exists() else "")
    replace(HOME, PREVIOUS)


def running():
    """Whether the service is up. Where no systemd runs, systemctl says yes to everything."""
    if not Path("/run/systemd/system").is_dir():
        return False
    return subprocess.run(["systemctl", "is-active", "--quiet", "haproxy.service"], timeout=30, check=False).returncode == 0


def wait_for_master(limit=5.0):
    """Wait until the master takes questions: a service that has just started is ready a moment before that."""
    end = time.monotonic() + limit
    while True:
        try:
            ask(MASTER, "show proc")
            return
        except (ConnectionError, FileNotFoundError):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def reload():
    """Reload and wait for the answer of the new process; Refused with what it said."""
    save()
    try:
        wait_for_master()
        answer = ask(MASTER, "reload")
    except OSError as error:
        raise Refused(f"the running haproxy cannot be asked to reload ({error})") from error
    if "Success=1" not in answer:
        said = "\n".join(line for line in answer.splitlines() if "NOTICE" not in line and "Success" not in line)
        raise Refused(f"haproxy did not take the new configuration:\n{said}")
    limit = time.monotonic() + 10
    while True:
        with contextlib.suppress(OSError):
            if "Uptime_sec" in ask(ADMIN, "show info", 2.0):
                return
        if time.monotonic() > limit:
            raise Refused("the new process does not answer")
        time.sleep(0.05)


def activate():
    """Take the staged files into use; put the old ones back when they do not work."""
    judge()
    keep_previous()
    replace(STAGED, HOME)
    rules = read(PREVIOUS / NFT) != read(HOME / NFT)
    if not running():
        tidy()
        return
    try:
        reload()
    except Refused as error:
        replace(PREVIOUS, HOME)
        try:
            reload()
        except Refused as again:
            raise Refused(f"{error}\nThe old configuration is back, but: {again}") from error
        raise Refused(f"{error}\nThe old configuration is back in use.") from error
    if rules:
        transparent()
    tidy()


def tidy():
    """Remove from the staged files what no configuration names any more: keys of services that are gone."""
    wanted = {STAGED / name for name in (*names(STAGED), MANIFEST)}
    for path in STAGED.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()


def transparent():
    """Bring the rules for transparent services to what is wanted now."""
    # it skips itself when no service is transparent
    subprocess.run(["systemctl", "restart", "rota-transparent.service"], timeout=60, check=False)


def wait_for_tables(limit=12.0):
    """Wait until the running process could hand its stick tables over.

    It teaches its successor only once it has learnt itself, which takes a process without a predecessor up to 10 s. An
    HL7 feed would fall back to its first member if its table got lost.
    """
    end = time.monotonic() + limit
    while re.search("used:[1-9]", ask(ADMIN, "show table", 5.0)) and time.monotonic() < end:
        flags = re.search("flags=0x([0-9a-f]+)", ask(ADMIN, "show peers", 5.0))
        if flags is None or int(flags[1], 16) & 3 == 3:
            return
        time.sleep(0.1)


def hand_over(path, text):
    """Write a file for the next process in one atomic step."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    os.rename(beside, path)


def save(wait=True):
    """Write health and drains where the next process reads them, and which feeds have a member."""
    try:
        if wait:
            wait_for_tables()
        state, tables = ask(ADMIN, "show servers state", 5.0), ask(ADMIN, "show table", 5.0)
    except OSError:
        return  # a process that does not answer has nothing to hand over
    hand_over(STATE, state)
    feeds = re.findall(r"# table: (\S+), type: integer, size:16, used:1", tables)
    hand_over(FEEDS, "".join(f"{name}\n" for name in feeds))


def prepare():
    """At a start there is no predecessor: no feed to wait for, and perhaps not yet the state that it asks for."""
    STATE.parent.mkdir(exist_ok=True)
    FEEDS.unlink(missing_ok=True)
    if not STATE.exists():
        hand_over(STATE, unknowing(COPY) or "1\n")


def unknowing(path):
    """The state at `path` with the operators' drains and no health: whom it calls down may be up. Empty without a file."""
    try:
        lines = path.read_text().split("\n")
    except (OSError, UnicodeDecodeError):
        return ""
    for number, line in enumerate(lines[2:], start=2):
        fields = line.split(" ")
        if len(fields) > 13 and fields[12].isdecimal():
            # management.txt 9.3: operational state (2: running), result of the check (0: unknown), its health
            fields[5], fields[11], fields[12] = "2", "0", str(max(int(fields[12]), 1))
            lines[number] = " ".join(fields)
    return "\n".join(lines)


def forget():
    """After a crash the saved state is an old one: of health nothing is known, but whom an operator drained is drained."""
    if os.environ.get("SERVICE_RESULT", "success") != "success" and STATE.exists():
        hand_over(STATE, unknowing(STATE) or "1\n")


def ip(*words, check=True):
    """Run ip(8) for both families."""
    for family in ("-4", "-6"):
        subprocess.run(["ip", family, *words], capture_output=not check, timeout=10, check=check)


def transparent_on():
    """Deliver marked packets to this node, whatever their address."""
    subprocess.run(["nft", "-f", HOME / NFT], timeout=30, check=True)
    ip("rule", "del", "priority", TABLE, check=False)
    ip("rule", "add", "priority", TABLE, "fwmark", MARK, "lookup", TABLE)
    ip("route", "replace", "local", "default", "dev", "lo", "table", TABLE)


def transparent_off():
    """Take all of it away again."""
    subprocess.run(["nft", "delete", "table", "inet", "rota_transparent"], capture_output=True, timeout=30, check=False)
    ip("rule", "del", "priority", TABLE, check=False)
    ip("route", "flush", "table", TABLE, check=False)


def main(words):
    """Run one command."""
    commands = {
        "save": save,
        "stop": lambda: save(wait=False),  # no successor is there to take tables over
        "forget": forget,
        "prepare": prepare,
        "transparent-on": transparent_on,
        "transparent-off": transparent_off,
    }
    if words in (["activate"], ["activate", "--check"]):
        if not differs():
            print("unchanged")
            return 0
        if "--check" not in words:
            activate()
        print("differs" if "--check" in words else "activated")
        return 0
    if len(words) == 1 and words[0] in commands:
        commands[words[0]]()
        return 0
    print(__doc__)
    return 0 if words in (["-h"], ["--help"]) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Refused as problem:
        sys.exit(str(problem))
