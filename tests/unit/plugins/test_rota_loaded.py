"""The callback that loads `rota` before Ansible forks: a filter that imports something else would be slow again, unseen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]
FILTERS = TOP / "plugins/filter/rota.py"
CALLBACK = TOP / "plugins/callback/rota_loaded.py"
# Says from within a task's worker whether the package was there before any filter asked for it.
WITNESS = """
import sys
class FilterModule:
    def filters(self):
        return {"loaded_before": lambda name: name in sys.modules}
"""


# Every import of the filters, also those in functions, after the callback's own: what came in addition?
ASKS = f"""
import ast, json, runpy, sys
from pathlib import Path
runpy.run_path({str(CALLBACK)!r})
before = set(sys.modules)
for node in ast.walk(ast.parse(Path({str(FILTERS)!r}).read_text())):
    if isinstance(node, ast.ImportFrom) and node.module.startswith("rota"):
        exec(ast.unparse(node))
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_it_loads_all_that_filters_ask_for() -> None:
    done = subprocess.run([sys.executable, "-c", ASKS], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == []


def test_a_task_finds_it_loaded(tmp_path: Path) -> None:
    (tmp_path / "filters").mkdir()
    (tmp_path / "filters/witness.py").write_text(WITNESS)
    task = {"ansible.builtin.debug": {"msg": "said {{ 'rota.haproxy' | loaded_before }}"}}
    (tmp_path / "play.json").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    env = {**os.environ, "ANSIBLE_CONFIG": str(TOP / "ansible.cfg"), "ANSIBLE_FILTER_PLUGINS": str(tmp_path / "filters")}
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", str(tmp_path / "play.json")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=False, cwd=TOP)
    assert "said True" in done.stdout, done.stdout + done.stderr
