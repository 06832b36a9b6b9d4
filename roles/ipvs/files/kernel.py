"""Ask this host's kernel for modules and settings, and bring it to settings.

Usage: kernel.py ask [MODULE...] -- [KEY=VALUE...]    load the modules; JSON: those that are missing, keys that cannot be
                                                      set, keys that can and have another value
       kernel.py look [MODULE...]    the same for a tree whose kernel does not run: only look at its files
       kernel.py set FILE            bring the kernel to a sysctl.d(5) file; print what differed
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path


def place(key: str) -> Path:
    """Where a setting is; sysctl.d(5): when the first separator is a slash, dots are part of names."""
    first = re.search(r"[./]", key)
    return Path("/proc/sys", key if first and first[0] == "/" else key.replace(".", "/"))


def current(key: str) -> list[str]:
    """The words of a setting's value."""
    return place(key).read_text(encoding="utf-8").split()


def loaded(module: str) -> bool:
    """Load `module`; whether it is there now, as a module or as a part of the kernel."""
    try:
        done = subprocess.run(["modprobe", "-q", module], check=False, stdout=subprocess.DEVNULL)  # noqa: S603, S607
    except OSError:
        done = None
    if done is not None and done.returncode == 0:
        return True
    return Path("/sys/module", module).exists() or (module == "ip_vs" and Path("/proc/net/ip_vs").exists())


def in_a_tree(module: str) -> bool:
    """Whether every kernel that is installed here has `module`."""
    kernels = [path.parent for path in Path("/lib/modules").glob("*/modules.dep")]
    lists = ("modules.dep", "modules.builtin")
    pattern = re.compile(rf"/{module}\.ko")
    return bool(kernels) and all(
        any(pattern.search((kernel / name).read_text(encoding="utf-8")) for name in lists if (kernel / name).exists())
        for kernel in kernels
    )


def ask(words: list[str]) -> None:
    """Print what is missing and what is closed."""
    split = words.index("--")
    missing = [module for module in words[:split] if not loaded(module)]
    wanted = dict(word.split("=", 1) for word in words[split + 1 :])
    closed = [key for key in wanted if not os.access(place(key), os.W_OK)]
    differ = [key for key, value in wanted.items() if key not in closed and current(key) != value.split()]
    print(json.dumps({"missing": missing, "closed": closed, "differ": differ}))


def look(words: list[str]) -> None:
    """Print what is missing."""
    missing = [module for module in words if not in_a_tree(module)]
    print(json.dumps({"missing": missing, "closed": [], "differ": []}))


def bring(words: list[str]) -> None:
    """Set what differs; a key that begins with `-` is left out."""
    for line in Path(words[0]).read_text(encoding="utf-8").splitlines():
        key, equals, wanted = line.partition("=")
        key, wanted = key.strip(), " ".join(wanted.split())
        if not equals or key.startswith(("#", "-")):
            continue
        if current(key) != wanted.split():
            place(key).write_text(wanted + "\n", encoding="utf-8")
            print(f"{key} = {wanted}")


{"ask": ask, "look": look, "set": bring}[sys.argv[1]](sys.argv[2:])
