"""Where this host gets its Debian packages from, carried over to another suite.

The lab is Debian 13 whatever the host runs, and it must come through the same mirror, proxy and keys as
the host's own packages: nothing here names a mirror.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

SUITE = "trixie"
POCKETS = ("", "-updates", "-security")


def host_codename(os_release: Path = Path("/etc/os-release")) -> str:
    """Return the codename of the running Debian, `bookworm` for one."""
    for line in os_release.read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip('"')
    raise SystemExit("lab: this host does not say which Debian it is (no VERSION_CODENAME in /etc/os-release)")


def _moved(suites: list[str], codename: str, suite: str) -> list[str]:
    """Return those of `suites` that are Debian's own (codename and its pockets), renamed to `suite`."""
    known = {f"{name}{pocket}": pocket for name in (codename, "stable") for pocket in POCKETS}
    return [suite + known[one] for one in suites if one in known]


def _from_deb822(text: str, codename: str, suite: str) -> list[str]:
    entries: list[str] = []
    for stanza in text.split("\n\n"):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0] in " \t":
                fields[key] += " " + line.strip()
            else:
                name, _, value = line.partition(":")
                key = name.lower()
                fields[key] = value.strip()
        if fields.get("enabled", "yes").lower() == "no" or "deb" not in fields.get("types", "").split():
            continue
        signed = fields.get("signed-by", "")
        option = f"[signed-by={signed}] " if signed.startswith("/") else ""
        for uri in fields.get("uris", "").split():
            for moved in _moved(fields.get("suites", "").split(), codename, suite):
                entries.append(f"deb {option}{uri} {moved} main")
    return entries


def _from_one_line(text: str, codename: str, suite: str) -> list[str]:
    entries: list[str] = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words or words[0] != "deb":
            continue
        option = ""
        if words[1].startswith("["):
            end = next(i for i, word in enumerate(words) if word.endswith("]"))
            option = " ".join(words[1 : end + 1]) + " "
            words = [words[0], *words[end + 1 :]]
        for moved in _moved(words[2:3], codename, suite):
            entries.append(f"deb {option}{words[1]} {moved} main")
    return entries


def sources(etc: Path = Path("/etc/apt"), *, suite: str = SUITE, codename: str | None = None) -> list[str]:
    """Return one-line apt sources for `suite`, made from the host's own (deb822 and one-line files)."""
    codename = codename or host_codename()
    entries: list[str] = []
    one_line = [etc / "sources.list", *sorted(etc.glob("sources.list.d/*.list"))]
    for path in (path for path in one_line if path.exists()):
        entries += _from_one_line(path.read_text(), codename, suite)
    for path in sorted(etc.glob("sources.list.d/*.sources")):
        entries += _from_deb822(path.read_text(), codename, suite)
    if not entries:
        raise SystemExit(f"lab: no apt source of this host offers {codename}, so none can be asked for {suite}")
    return list(dict.fromkeys(entries))


def fetch_options() -> list[str]:
    """Return the host's `Acquire` settings (proxy, validity, retries) as `Key "value"` lines."""
    dump = subprocess.run(["apt-config", "dump", "Acquire"], check=True, capture_output=True, text=True)
    skip = tuple(
        f"Acquire::{name}" for name in ("IndexTargets", "Changelogs", "Snapshots", "CompressionTypes", "Languages", "cdrom")
    )
    lines = [line.rstrip(";") for line in dump.stdout.splitlines() if not line.startswith(skip)]
    return [line for line in lines if not line.endswith(' ""')]
