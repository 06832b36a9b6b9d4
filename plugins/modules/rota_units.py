"""Ansible module: have units enabled and started, and wait until they do their work, in one step."""

from __future__ import annotations

import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: rota_units
short_description: Have units enabled and started, and wait until they do their work
description:
  - Asks systemd, and does what is missing. Units are never restarted or reloaded here; that is for handlers.
  - One task instead of one for each unit and one that looks what came of it.
options:
  enabled: {description: Units that start at boot., type: list, elements: str, required: true}
  started: {description: Units that run now., type: list, elements: str, default: []}
  ready:
    description:
      - Command that ends with 0 once the units do their work. A unit may start "successfully" and do nothing.
      - Unset is not to wait.
    type: list
    elements: str
    default: []
  within: {description: Seconds to wait for O(ready)., type: int, default: 20}
author: ["Rota"]
"""

EXAMPLES = """
- name: started | Start it
  rota_units:
    enabled: [example.service]
    started: [example.service]
    ready: [example, --is-ready]
"""

RETURN = """
done: {description: "What was or, under C(--check), would be done.", type: list, returned: always}
"""

PAUSE = 1.0  # seconds between two looks


def have(module: AnsibleModule, question: str, verb: str, units: list[str]) -> list[str]:
    """`verb` those of `units` of which systemctl does not affirm `question`; returns what was done."""
    done = []
    for unit in units:
        if module.run_command(["systemctl", "--quiet", question, unit])[0] == 0:
            continue
        done.append(f"{verb} {unit}")
        if module.check_mode:
            continue
        code, out, err = module.run_command(["systemctl", "--quiet", verb, unit])
        if code:
            module.fail_json(msg=f"systemctl {verb} {unit}: {err.strip() or out.strip()}", rc=code)
    return done


def wait(module: AnsibleModule) -> None:
    """Repeat the command of `ready` until it ends with 0, or fail with what it said last."""
    end = time.monotonic() + module.params["within"]
    while True:
        code, out, err = module.run_command(module.params["ready"], expand_user_and_vars=False)
        if code == 0:
            return
        if time.monotonic() > end:
            said = "\n".join(text.strip() for text in (err, out) if text.strip())
            units = ", ".join(module.params["started"] or module.params["enabled"])
            module.fail_json(msg=f"{units}: not at work after {module.params['within']} s:\n{said}", rc=code)
        time.sleep(PAUSE)


def main() -> None:
    """Run the module."""
    options = {
        "enabled": {"type": "list", "elements": "str", "required": True},
        "started": {"type": "list", "elements": "str", "default": []},
        "ready": {"type": "list", "elements": "str", "default": []},
        "within": {"type": "int", "default": 20},
    }
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    done = have(module, "is-enabled", "enable", module.params["enabled"])
    done += have(module, "is-active", "start", module.params["started"])
    if module.params["ready"] and not module.check_mode:
        wait(module)
    module.exit_json(changed=bool(done), done=done)


if __name__ == "__main__":
    main()
