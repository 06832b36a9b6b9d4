"""Reads a site from files: an inventory directory, or one file of services."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rota.model.parse import Result, parse
from rota.model.problems import Problem


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice: the second would silently replace the first, and with it a whole service."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str | int) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key} is there twice", key_node.start_mark)
            if isinstance(key, str | int):
                seen.add(key)
        return super().construct_mapping(node, deep)


# Secrets of other variables may stand in the same folder; the model has none, so their text does not matter here.
_Loader.add_constructor("!vault", lambda loader, node: node.value)


def load(path: Path) -> Result:
    """The model of the inventory directory or file at `path`. Never raises for what is, or is not, there."""
    if path.is_dir():
        return _load_directory(path)
    if not path.is_file():
        return _refused(str(path), "there is no such file or directory")
    document, problems = _read(path)
    return _judge(document, problems, need_site=False)


def _load_directory(path: Path) -> Result:
    files = sorted((*path.glob("group_vars/**/*.yml"), *path.glob("group_vars/**/*.yaml")))
    if not files:
        return _refused(str(path), "has no group_vars/…/*.yml: give a site's inventory directory or a services file")
    document: dict[str, Any] = {}
    problems: list[Problem] = []
    for file in files:
        found, wrong = _read(file)
        problems += wrong
        for key in ("site", "services"):
            if isinstance(found, dict) and key in found:
                if key in document:
                    problems.append(Problem(key, f"is in more than one file of {path.name}/group_vars"))
                document[key] = found[key]
    return _judge(document, problems, need_site=True)


def _judge(document: Any, problems: list[Problem], *, need_site: bool) -> Result:
    if problems:  # what could not be read must not be reported as missing
        return Result(None, {}, problems)
    return parse(document, need_site=need_site)


def _read(file: Path) -> tuple[Any, list[Problem]]:
    try:
        # a subclass of SafeLoader: it makes no objects
        return yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader) or {}, []  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        return None, [Problem(file.name, f"is not valid YAML: {error.problem or error}{where}")]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        return None, [Problem(file.name, f"cannot be read: {reason}")]


def _refused(path: str, text: str) -> Result:
    return Result(None, {}, [Problem(path, text)])
