"""Files: inventory directories, single files, and what may be wrong with them; and the commands on top."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from rota import model

ROOT = Path(__file__).parents[3]
SERVICES = """
services:
  web:
    profile: rest
    address: 198.51.100.101
    members:
      web-a: {address: 198.51.100.31, port: 8080}
"""


def rota(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "rota.cli", *map(str, argv)], capture_output=True, text=True, check=False)


def written(folder: Path, text: str) -> Path:
    file = folder / "services.yml"
    file.write_text(text, encoding="utf-8")
    return file


def nodes_of(inventory: dict[str, Any]) -> list[str] | None:
    """The hosts of group rota_nodes, wherever in the tree of groups it stands."""
    for name, group in inventory.items():
        if name == "rota_nodes":
            return list(group["hosts"])
        found = nodes_of(group.get("children") or {})
        if found:
            return found
    return None


@pytest.mark.parametrize("site", sorted(p.parent.name for p in ROOT.glob("inventories/*/hosts.yml")))
def test_the_sites_that_we_ship_are_sound_and_fit_the_schema(site: str) -> None:
    folder = ROOT / "inventories" / site
    result = model.load(folder)
    assert result.problems == []
    assert result.site is not None
    assert nodes_of(yaml.safe_load((folder / "hosts.yml").read_text())) == list(result.site.site.nodes)
    validator = jsonschema.Draft202012Validator(model.json_schema())
    for file in folder.glob("group_vars/all/*.yml"):
        ours = {key: value for key, value in yaml.safe_load(file.read_text()).items() if key in ("site", "services")}
        assert not list(validator.iter_errors(ours)), file
    assert not list(validator.iter_errors(model.dump(result.site)))


def test_the_schema_refuses_what_the_model_refuses() -> None:
    document = {"services": {"web": {"profile": "rest", "address": "198.51.100.1", "member": {}}}}
    messages = [e.message for e in jsonschema.Draft202012Validator(model.json_schema()).iter_errors(document)]
    assert any("'member' was unexpected" in m for m in messages)
    assert any("'members' is a required property" in m for m in messages)


def test_a_services_file_alone_is_enough(tmp_path: Path) -> None:
    done = rota("validate", written(tmp_path, SERVICES))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("services.yml: sound (1 services, 1 members)\n")


def test_each_problem_is_one_line_and_the_exit_is_1(tmp_path: Path) -> None:
    done = rota("validate", written(tmp_path, SERVICES.replace("8080", "70000").replace("rest", "rset")))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "services.web.profile: rset is not one of dicom, dicom-tls, hl7, hl7-tls, xds-registry, xds-repository, "
        "xds-imaging, dicomweb, viewer, rest, database, tcp, udp, syslog, dns (did you mean rest?)",
        "services.web.members.web-a.port: 70000 is not a port (1–65535)",
    ]


def test_json_says_the_same(tmp_path: Path) -> None:
    done = rota("validate", "--json", written(tmp_path, SERVICES.replace("8080", "70000")))
    answer: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 1
    assert answer["ok"] is False
    assert answer["problems"] == [
        {"path": "services.web.members.web-a.port", "text": "70000 is not a port (1–65535)", "warning": False}
    ]


WRONG_FILES = {
    "twice": (SERVICES + "\n  web: {}\n", "services.yml: is not valid YAML: the key web is there twice (line 9, column 3)"),
    "not YAML": (
        "services: [",
        "services.yml: is not valid YAML: expected the node content, but found '<stream end>' (line 1, column 12)",
    ),
    "empty": ("", "services: is missing"),
    "a list": ("- a\n", "document: is not a mapping with the keys site and services"),
}


@pytest.mark.parametrize(("text", "line"), WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_a_file_that_is_no_services_file(tmp_path: Path, text: str, line: str) -> None:
    done = rota("validate", written(tmp_path, text))
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (1, [line], "")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    file = tmp_path / "services.yml"
    file.write_bytes(b"\xff\xfe\x00")
    assert [p.path for p in model.load(file).problems] == ["services.yml"]


@pytest.mark.parametrize("path", ["/nonexistent/site", "/proc/self"])
def test_a_place_without_a_site(path: str) -> None:
    done = rota("validate", path)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{path}: ")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_a_key_in_two_files_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "group_vars" / "all"
    folder.mkdir(parents=True)
    for name in ("one.yml", "two.yml"):
        (folder / name).write_text(SERVICES)
    assert [str(p) for p in model.load(tmp_path).problems] == [
        f"services: is in more than one file of {tmp_path.name}/group_vars"
    ]


def test_300_services_validate_in_under_3_seconds() -> None:
    services = {
        f"s{i}": {
            "profile": "dicom",
            "address": f"10.0.{i // 200}.{i % 200 + 20}",
            "members": {
                f"m{j}": {"address": f"10.1.{i % 250}.{j + 1}", "called_ae": f"AE{j}", "port": 10000 + i} for j in range(4)
            },
        }
        for i in range(300)
    }
    site = {
        "name": "big",
        "nodes": {"lb1": {"address": "10.0.0.1"}},
        "networks": {"lan": {"prefix": "10.0.0.0/16", "interface": "e"}},
        "management": ["10.2.0.0/24"],
    }
    started = time.monotonic()
    assert model.parse({"site": site, "services": services}).problems == []
    assert time.monotonic() - started < 3
