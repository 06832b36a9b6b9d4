#!/usr/bin/python3
"""Take new packet filter rules into use so that nobody is locked out for longer than a minute.

Usage: firewall check [NETWORK...] | try [--undo-after=SECONDS] | confirm | undo | load | open

`check` says whether /etc/rota/firewall/next.nft differs from what is in force ("unchanged" or "differs"), and refuses when
the SSH connection that it was called through comes from none of the NETWORKs.
`try` loads next.nft and sets a timer that calls `undo`; `confirm`, to be called over a new connection, ends the timer and
makes the rules those that a boot loads. `load` loads the confirmed rules, `open` takes the whole table away.
"""

# ruff: noqa: S603, S607 (root's own helper: fixed commands, no shell, the PATH of the service manager)

import contextlib
import fcntl
import hashlib
import ipaddress
import json
import os
import shutil
import subprocess
import sys
import syslog
from pathlib import Path

HOME = Path(os.environ.get("ROTA_FIREWALL_HOME", "/etc/rota/firewall"))
RUN = Path(os.environ.get("ROTA_FIREWALL_RUN", "/run/rota"))
NEXT, RULES = HOME / "next.nft", HOME / "rules.nft"
# what was loaded from which file, and whether it waits to be confirmed; gone after a boot, as the rules are
PENDING, LOADED, LOCK = RUN / "firewall-pending", RUN / "firewall-loaded", RUN / "firewall.lock"
UNIT, UNDO = "rota-firewall.service", "rota-firewall-undo"
TABLE = ("inet", "rota")


class Refused(Exception):
    """Why the rules are not in force."""


def say(priority, text):
    """Leave a line in the journal, and on standard error."""
    syslog.syslog(priority, text)
    print(text, file=sys.stderr)


def run(*words):
    """Run a command; what it printed and how it ended."""
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def digest(path):
    """SHA-256 of a file; None when there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def in_force():
    """SHA-256 of the kernel's table as nft lists it, without counters; None when there is no table."""
    done = run("nft", "--stateless", "list", "table", *TABLE)
    return None if done.returncode else hashlib.sha256(done.stdout.encode()).hexdigest()


def nft(path):
    """Replace the table by the rules at `path` in one transaction, or leave it as it is."""
    done = run("nft", "-f", str(path))
    if done.returncode:
        raise Refused(f"nft refuses {path}, the rules in force stay:\n{done.stderr.strip()}")
    put(LOADED, json.dumps({"file": digest(path), "kernel": in_force()}))


def put(path, text):
    """Write a small file in one atomic step."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    os.rename(beside, path)


def loaded():
    """What was loaded last."""
    try:
        return json.loads(LOADED.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def booted():
    """Whether systemd runs here: an image is made without, and its builder's kernel is not the node's."""
    return Path("/run/systemd/system").is_dir()


def unchanged():
    """Whether next.nft is confirmed, in force as it was loaded, and comes back at a boot."""
    wanted = digest(NEXT)
    if wanted != digest(RULES) or PENDING.exists() or not enabled():
        return False
    if not booted():
        return True
    last = loaded()
    return last.get("file") == wanted and last.get("kernel") is not None and last["kernel"] == in_force()


def enabled():
    """Whether a boot loads the rules."""
    return run("systemctl", "is-enabled", "--quiet", UNIT).returncode == 0


def caller():
    """The address that this SSH session comes from; None when it is not one (sudo forgets it, its parents do not)."""
    pid = os.getpid()
    while pid > 1:
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if entry.startswith(b"SSH_CONNECTION="):
                    return entry.split(b"=")[1].split()[0].decode().partition("%")[0]
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            return None
    return None


def check(networks):
    """Say whether there is something to do, and refuse what would cut its caller off."""
    address = caller()
    if address and networks:
        came = ipaddress.ip_address(address)
        came = getattr(came, "ipv4_mapped", None) or came
        if not any(came in ipaddress.ip_network(network) for network in networks):
            raise Refused(
                f"this connection comes from {came}, which is in no network of site.management ({', '.join(networks)}): "
                "the new rules would lock it out; they were not loaded"
            )
    print("unchanged" if unchanged() else "differs")


def attempt(seconds):
    """Load next.nft under a timer that puts the old rules back."""
    run("systemctl", "enable", "--quiet", UNIT)  # reads the unit anew, too
    if unchanged():
        print("unchanged")
        return
    if not booted():
        shutil.copy2(NEXT, RULES)
        print("installed")
        return
    stop_timer()
    # first the way back, then the step
    words = ["--quiet", "--collect", f"--unit={UNDO}", f"--on-active={seconds}s", "--timer-property=AccuracySec=100ms"]
    words += ["--description=Put the old packet filter rules back", os.path.abspath(sys.argv[0]), "undo"]
    timer = run("systemd-run", *words)
    if timer.returncode:
        raise Refused(f"no timer could be set, so the rules were not loaded: {timer.stderr.strip()}")
    put(PENDING, digest(NEXT))
    try:
        nft(NEXT)
    except Refused:
        PENDING.unlink()
        stop_timer()
        raise
    say(syslog.LOG_NOTICE, f"new rules are in force, to be undone in {seconds} s unless they are confirmed")
    print("tried")


def stop_timer():
    """End the timer, if there is one."""
    run("systemctl", "stop", "--quiet", f"{UNDO}.timer")


def confirm():
    """Keep what was tried."""
    if not PENDING.exists():
        raise Refused(
            "nothing waits to be confirmed: the time was over and the old rules are back (journalctl -t rota-firewall)"
        )
    if PENDING.read_text() != digest(NEXT):
        raise Refused("next.nft is not what was tried: try again")
    beside = RULES.with_name(".rules.nft.new")
    shutil.copy2(NEXT, beside)
    with beside.open("rb") as handle:
        os.fsync(handle.fileno())
    os.rename(beside, RULES)
    PENDING.unlink()
    stop_timer()
    run("systemctl", "start", "--no-block", UNIT)
    say(syslog.LOG_NOTICE, "the new rules are confirmed, and are what a boot loads")
    print("confirmed")


def undo():
    """Go back to the confirmed rules, or to none when there were none."""
    if not PENDING.exists():
        return
    PENDING.unlink()
    if not RULES.exists():
        take_away()
        say(syslog.LOG_ERR, "nobody confirmed the new rules in time: they are gone, and there were none before")
        return
    try:
        nft(RULES)
    except Refused as error:
        # whoever can reach the node can mend it; whoever cannot, cannot
        take_away()
        say(syslog.LOG_CRIT, f"nobody confirmed the new rules in time, the old ones cannot be loaded: all is open. {error}")
        return
    say(syslog.LOG_ERR, "nobody confirmed the new rules in time: the old ones are back")


def load():
    """Load what was confirmed last."""
    nft(RULES)
    if PENDING.exists():
        PENDING.unlink()
        stop_timer()


def take_away():
    """Remove the table: everything is open."""
    run("nft", "delete", "table", *TABLE)
    LOADED.unlink(missing_ok=True)


def main(words):
    """Run one command."""
    syslog.openlog("rota-firewall", syslog.LOG_PID, syslog.LOG_DAEMON)
    commands = {"confirm": confirm, "undo": undo, "load": load, "open": take_away}
    RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if words[:1] == ["check"]:
            check(words[1:])
        elif words[:1] == ["try"] and len(words) <= 2 and all(w.startswith("--undo-after=") for w in words[1:]):
            attempt(int(words[1].partition("=")[2]) if words[1:] else 60)
        elif len(words) == 1 and words[0] in commands:
            commands[words[0]]()
        else:
            print(__doc__)
            return 0 if words in (["-h"], ["--help"]) else 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Refused as problem:
        sys.exit(str(problem))
