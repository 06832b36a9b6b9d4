"""Read and empty the lab's archives over Orthanc's REST interface.

Usage: archive.py list HOST | archive.py clear HOST | archive.py digest FILE...

`list` prints one JSON line per instance: uid, sha256 (of the data set as it is stored, without the file's own meta header,
which every archive writes anew), remote (the caller's address that the archive saw), called (the AE title that it was called
by). `digest` prints uid and sha256 of files.
"""

import hashlib
import http.client
import io
import json
import sys
from pathlib import Path

from pydicom import dcmread

PREAMBLE = 132
GROUP_LENGTH = 12  # (0002,0000) UL: how long the rest of the meta header is


def digest(data: bytes) -> dict[str, str]:
    """Return the instance's UID and the SHA-256 of its data set, given a DICOM file (PS3.10)."""
    start = PREAMBLE + GROUP_LENGTH
    body = start + int.from_bytes(data[start - 4 : start], "little")
    uid = str(dcmread(io.BytesIO(data), stop_before_pixels=True).SOPInstanceUID)
    return {"uid": uid, "sha256": hashlib.sha256(data[body:]).hexdigest()}


def ask(host: str, method: str, path: str) -> bytes:
    """Read or delete one resource."""
    link = http.client.HTTPConnection(host, 8042, timeout=10)
    try:
        link.request(method, path)
        answer = link.getresponse()
        body = answer.read()
    finally:
        link.close()
    if answer.status != http.client.OK:
        raise SystemExit(f"{host}: {method} {path}: {answer.status}")
    return body


def main() -> None:
    """Do what the command line says."""
    what, *rest = sys.argv[1:]
    if what == "digest":
        for name in rest:
            print(json.dumps({"file": name, **digest(Path(name).read_bytes())}))
        return
    host = rest[0]
    for instance in json.loads(ask(host, "GET", "/instances")):
        if what == "clear":
            ask(host, "DELETE", f"/instances/{instance}")
            continue
        about = json.loads(ask(host, "GET", f"/instances/{instance}/metadata?expand"))
        row = digest(ask(host, "GET", f"/instances/{instance}/file"))
        print(
            json.dumps(
                {**row, "remote": about.get("RemoteIP"), "called": about.get("CalledAET"), "calling": about.get("RemoteAET")}
            )
        )


if __name__ == "__main__":
    main()
