"""Ansible module: install the Debian packages that are missing, and cost next to nothing when none is."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: rota_packages
short_description: Install the Debian packages that are missing
description:
  - Asks dpkg first. Only when a package is missing apt comes in, and reads its lists anew before if O(update) says so.
  - ansible.builtin.apt opens apt's whole cache to find that there is nothing to do, which takes a second on each node.
options:
  name: {description: Packages that shall be there., type: list, elements: str, required: true}
  update: {description: Whether apt reads its lists anew before it installs., type: bool, default: false}
author: ["Rota"]
"""

EXAMPLES = """
- name: install | Install packages
  rota_packages: {name: [haproxy, socat]}
"""

RETURN = """
installed:
  description: The packages that were or, under C(--check), would be installed.
  type: list
  returned: always
"""

APT = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120"]
KEEP = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]


def missing(module: AnsibleModule, names: list[str]) -> list[str]:
    """Which of `names` are not installed in full."""
    _, said, _ = module.run_command(["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\\n", *names])
    there = {line.split()[1] for line in said.splitlines() if line[1:2] == "i"}
    return [name for name in names if name not in there]


def apt(module: AnsibleModule, verb: str, *words: str) -> None:
    """Run apt-get, or fail with what it says."""
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    code, out, err = module.run_command([*APT, verb, *words], environ_update=quiet)
    if code:
        module.fail_json(msg=f"apt-get {verb}: {err.strip() or out.strip()}", rc=code)


def main() -> None:
    """Run the module."""
    options = {
        "name": {"type": "list", "elements": "str", "required": True},
        "update": {"type": "bool", "default": False},
    }
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    wanted = missing(module, module.params["name"]) if module.params["name"] else []
    if wanted and not module.check_mode:
        if module.params["update"]:
            apt(module, "update")
        apt(module, "install", "--no-install-recommends", *KEEP, *wanted)
        left = missing(module, wanted)
        if left:
            module.fail_json(msg=f"apt-get was content, and yet these are not installed: {', '.join(left)}")
    module.exit_json(changed=bool(wanted), installed=wanted)


if __name__ == "__main__":
    main()
