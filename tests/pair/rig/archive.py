"""What is in the lab's archives, and the images that tests send."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from lib.lab import Member
from pair.rig import client

PACS = {"pacs-a": Member("pacs-a"), "pacs-b": Member("pacs-b")}
PORTS = (4242, 8042, 8443)
_SERIES = f"{client.INSTALLED}/series"
_SOURCE = "/opt/lab/python/pydicom/data/test_files/dicomdirtests"
_FOLDERS = ("98892001/CT5N", "98892001/CT2N", "77654033/CT2", "98892003/MR1", "98892003/MR2", "98892003/MR700")


@cache
def series() -> list[str]:
    """Return the files, in the client, of the real CT and MR series that pydicom ships.

    They are written once more by DCMTK first: `storescu` encodes lengths its own way (sequences, padding), and what is sent
    and what is stored can be compared bit for bit only if the files have that form already.
    """
    found = client.CLIENT.check("find", *[f"{_SOURCE}/{folder}" for folder in _FOLDERS], "-type", "f").split()
    names = {file: f"{_SERIES}/{file.removeprefix(_SOURCE).strip('/').replace('/', '-')}.dcm" for file in sorted(found)}
    client.CLIENT.check("mkdir", "-p", _SERIES)
    script = "".join(f"dcmconv {file} {name} || exit 1\n" for file, name in names.items())
    client.CLIENT.check("sh", "-e", stdin=script.encode())
    return list(names.values())


def digests(files: Iterable[str]) -> dict[str, str]:
    """Return SOP instance UID → SHA-256 of files in the client."""
    return {line["uid"]: line["sha256"] for line in client.call("archive", "digest", *files)}


def stored(*names: str) -> list[client.Line]:
    """Return what the archives hold, all of them by default: uid, sha256, remote, called, calling, archive."""
    rows = []
    for name in names or PACS:
        rows += [{**line, "archive": name} for line in client.call("archive", "list", name)]
    return rows


def clear(*names: str) -> None:
    """Empty the archives, all of them by default."""
    for name in names or PACS:
        client.call("archive", "clear", name)


def assert_all_stored(files: Iterable[str], *names: str) -> None:
    """Every file is in one of the archives, bit for bit, and nothing else is."""
    sent, kept = digests(files), stored(*names)
    missing = set(sent) - {row["uid"] for row in kept}
    assert not missing, f"{len(missing)} of {len(sent)} instances are nowhere"
    changed = [row["uid"] for row in kept if sent.get(row["uid"]) != row["sha256"]]
    assert not changed, f"{len(changed)} instances differ from what was sent, e.g. {changed[0]}"
