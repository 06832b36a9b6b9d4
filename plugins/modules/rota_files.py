"""Ansible module: bring many small files to their content in one step."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import shutil
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: rota_files
short_description: Bring many small files to their content in one step
description:
  - Writes all files, or none. Each is written beside its place first; those with C(validate) are judged by their own
    daemon, under C(--check) too. Only when all were accepted do they replace the old ones, each in one atomic step.
  - One task instead of one for each file, because a connection to a node costs more than the work.
options:
  files:
    description: The files.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: Absolute path. Missing folders are made., type: path, required: true}
      content: {description: Whole text of the file. Unset where O(secrets) has it and with I(state=absent)., type: str}
      state: {description: Whether the file shall be there., type: str, choices: [present, absent], default: present}
      mode: {description: Permissions in octal., type: str, default: "0644"}
      owner: {description: Owner of the file., type: str, default: root}
      group: {description: Group of the file., type: str, default: root}
      validate: {description: Command that judges the new file; C(%s) is its path., type: str}
  root:
    description:
      - Folder to write them below, for looking at. Nothing is validated then, and owners stay those of the caller.
      - Unset is the real place.
    type: path
  program:
    description:
      - Program without which there is nothing to do yet. While it is not there the task is skipped.
      - Unset is none.
    type: path
  trial:
    description:
      - Command that judges all files together, written below a temporary folder, whose path is C(%s); then they are removed.
        Nothing is replaced, and nothing is changed.
      - Unset writes the files to their places.
    type: str
  secrets:
    description:
      - Path and text of files that no log and no difference may show. They stand in O(files) too, without their text; for
        O(trial) they need not. What a command says is shown.
    type: dict
    default: {}
  judge_all:
    description: Whether files that would not change are validated as well.
    type: bool
    default: false
author: ["Rota"]
"""

EXAMPLES = """
- name: config | Write the files
  rota_files:
    files:
      - {path: /etc/example.conf, content: "{{ lookup('ansible.builtin.template', 'example.conf.j2') }}"}
"""

RETURN = """
changed_paths:
  description: The files that were, or under C(--check) would be, written, removed or given other permissions.
  type: list
  returned: always
"""


def read(path: str) -> str | None:
    """Text of the file at `path`, None when there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as handle:
            return handle.read()
    except FileNotFoundError:
        return None


def permissions(path: str) -> tuple[int, int, int]:
    """Mode, owner and group of `path`."""
    stat = os.stat(path)
    return stat.st_mode & 0o7777, stat.st_uid, stat.st_gid


class Writer:
    """Judges all files before the first one is replaced."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.ready: list[tuple[str, str]] = []  # where the new text waits, where it goes
        self.made: list[str] = []  # folders that did not exist

    def wanted_permissions(self, file: dict[str, Any]) -> tuple[int, int, int]:
        """What `file` asks for; a missing account is a failure, except under --check, where it may be made later."""
        if self.module.params["root"]:
            return int(file["mode"], 8), os.geteuid(), os.getegid()
        try:
            return int(file["mode"], 8), pwd.getpwnam(file["owner"]).pw_uid, grp.getgrnam(file["group"]).gr_gid
        except KeyError as error:
            if self.module.check_mode:
                return int(file["mode"], 8), 0, 0
            self.module.fail_json(msg=f"{file['path']}: {error.args[0]}")
            raise

    def prepare(self, file: dict[str, Any]) -> dict[str, Any] | None:
        """Compare one file; write the new text beside it and have it judged. The difference, or None."""
        path, old = file["path"], read(file["path"])
        if file["state"] == "absent":
            return None if old is None else {"before_header": path, "after_header": path, "before": old, "after": ""}
        wanted = self.wanted_permissions(file)
        unchanged = old == file["content"] and permissions(path) == wanted
        if unchanged and not (file["validate"] and self.module.params["judge_all"]):
            return None
        difference = {"before_header": path, "after_header": path, "before": old or "", "after": file["content"]}
        if file["secret"]:
            difference |= {"before": "", "after": "(a secret)\n"}
        if old == file["content"]:
            difference = {"before_header": path, "after_header": path}
            difference |= dict(
                zip(("before", "after"), (f"{p[0]:04o} {p[1]}:{p[2]}\n" for p in (permissions(path), wanted)), strict=True)
            )
        waiting = self.write_beside(path, file["content"], wanted)
        if file["validate"] and not self.module.params["root"]:
            self.judge(file["validate"], path, waiting)
        return None if unchanged else difference

    def write_beside(self, path: str, text: str, wanted: tuple[int, int, int]) -> str:
        """Write `text` to a new file where it can be renamed to `path` in one step (elsewhere under --check)."""
        folder = os.path.dirname(path)
        if self.module.check_mode:
            folder = self.module.tmpdir
        elif not os.path.isdir(folder):
            os.makedirs(folder, 0o755)
            self.made.append(folder)
        handle, waiting = tempfile.mkstemp(dir=folder, prefix=f".{os.path.basename(path)}.")
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.chown(waiting, *wanted[1:])
        os.chmod(waiting, wanted[0])
        self.ready.append((waiting, path))
        return waiting

    def judge(self, command: str, path: str, waiting: str) -> None:
        """Run the file's own daemon on it; fail, and leave everything as it was, when that refuses."""
        code, out, err = self.module.run_command([word.replace("%s", waiting) for word in shlex.split(command)])
        if code:
            self.drop()
            said = "\n".join(text.strip() for text in (err, out) if text.strip()).replace(waiting, path)
            self.module.fail_json(msg=f"{path} is refused, nothing was replaced:\n{said}", rc=code)

    def drop(self) -> None:
        """Remove what waits."""
        for waiting, _ in self.ready:
            os.unlink(waiting)
        for folder in self.made:
            if not os.listdir(folder):
                os.rmdir(folder)
        self.ready.clear()

    def replace(self) -> None:
        """Put what waits in its place."""
        for waiting, path in self.ready:
            os.rename(waiting, path)
        self.ready.clear()


def with_secrets(module: AnsibleModule) -> list[dict[str, Any]]:
    """The files, each with its text and whether that is a secret."""
    files = []
    for file in module.params["files"]:
        secret = file["state"] == "present" and file["content"] is None
        if secret and file["path"] not in module.params["secrets"]:
            module.fail_json(msg=f"{file['path']}: it has no content, and is no secret")
        files.append({**file, "secret": secret} | ({"content": module.params["secrets"][file["path"]]} if secret else {}))
    return files


def for_its_owner(path: str, flags: int) -> int:
    """Open `path` as a file that nobody else may read."""
    return os.open(path, flags, 0o600)


def judge_together(module: AnsibleModule) -> None:
    """Write the files below a temporary folder and have the command of `trial` judge them there."""
    place = tempfile.mkdtemp(prefix="rota-trial-", dir=module.tmpdir)
    public = {file["path"]: file["content"] for file in with_secrets(module) if file["state"] == "present"}
    for name, text in {**public, **module.params["secrets"]}.items():
        path = place + name
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="surrogateescape", opener=for_its_owner) as out:
            out.write(text)
    code, out, err = module.run_command([word.replace("%s", place) for word in shlex.split(module.params["trial"])])
    shutil.rmtree(place)
    if code:
        said = "\n".join(text.strip() for text in (err, out) if text.strip()).replace(place, "")
        module.fail_json(msg=f"the files are refused, nothing was replaced:\n{said}", rc=code)
    module.exit_json(changed=False, changed_paths=[])


def main() -> None:
    """Run the module."""
    spec = {
        "path": {"type": "path", "required": True},
        "content": {"type": "str", "no_log": False},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "mode": {"type": "str", "default": "0644"},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
        "validate": {"type": "str"},
    }
    options = {
        "files": {"type": "list", "elements": "dict", "required": True, "options": spec},
        "root": {"type": "path"},
        "program": {"type": "path"},
        "trial": {"type": "str"},
        "secrets": {"type": "dict", "default": {}, "no_log": True},
        "judge_all": {"type": "bool", "default": False},
    }
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    if module.params["program"] and not os.path.exists(module.params["program"]):
        module.exit_json(changed=False, changed_paths=[], skipped=True, skip_reason=f"no {module.params['program']} yet")
    if module.params["trial"]:
        judge_together(module)
    writer = Writer(module)
    differences = {}
    files = with_secrets(module)
    for file in files:
        if module.params["root"]:
            file["path"] = module.params["root"] + file["path"]
        difference = writer.prepare(file)
        if difference:
            differences[file["path"]] = difference
    if module.check_mode:
        writer.drop()
    else:
        writer.replace()
        for file in files:
            if file["state"] == "absent" and file["path"] in differences:
                os.unlink(file["path"])
    module.exit_json(changed=bool(differences), changed_paths=list(differences), diff=list(differences.values()))


if __name__ == "__main__":
    main()
