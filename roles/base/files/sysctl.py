"""Bring the kernel to the settings of a sysctl.d(5) file and print those that differed: nothing means nothing to do.

Usage: sysctl.py FILE
Reading back what the kernel really uses finds what somebody set by hand since, which the file alone does not show.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Set what differs; a key that begins with `-` may fail."""
    for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        key, equals, wanted = line.partition("=")
        key, wanted = key.strip(), " ".join(wanted.split())
        if not equals or key.startswith(("#", "-")):
            continue
        place = Path("/proc/sys", key.replace(".", "/"))
        if " ".join(place.read_text(encoding="utf-8").split()) != wanted:
            place.write_text(wanted + "\n", encoding="utf-8")
            print(f"{key} = {wanted}")


main()
