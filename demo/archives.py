"""What the two archives hold of the series, and whether it is what was sent."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO

from lib.lab import Host, Member
from lib.series import digest_file
from pydicom import dcmread
from pydicom.uid import UID


def holdings(client: Host, member: Member, studies: set[str]) -> dict[str, str]:
    """Return SOP Instance UID → SHA-256 of every instance of `studies` that `member` has stored."""
    base = f"http://{member.name}:8042"
    query = json.dumps({"Level": "Study", "Query": {"StudyInstanceUID": "\\".join(sorted(studies))}})
    found = json.loads(client.check("curl", "-fsS", "-d", query, f"{base}/tools/find"))
    if not found:
        return {}
    wanted = json.dumps({"Resources": found, "Synchronous": True})
    path = f"/root/{member.name}.zip"
    client.check("curl", "-fsS", "-o", path, "-d", wanted, f"{base}/tools/create-archive", timeout=120)
    data = client.read_bytes(path)
    client.check("rm", path)
    with zipfile.ZipFile(BytesIO(data)) as archive:
        files = [archive.read(name) for name in archive.namelist()]
    return {_uid(data): digest_file(data) for data in files}


def _uid(data: bytes) -> UID:
    return UID(dcmread(BytesIO(data), specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
