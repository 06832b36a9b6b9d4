"""`rota validate` and `rota schema`: the model without Ansible and without a node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def validate(
    path: Annotated[
        Path,
        typer.Argument(help="A site's inventory directory, or one file of services.", show_default=False),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Let warnings fail too.")] = False,
) -> None:
    """Check a site: one problem per line, all of them in one run. Exit 0 when it is sound, else 1."""
    from rota.model import load

    result = load(path)
    failed = not result.ok or (strict and bool(result.problems))
    if as_json:
        problems = [{"path": p.path, "text": p.text, "warning": p.warning} for p in result.problems]
        typer.echo(json.dumps({"ok": not failed, "services": list(result.services), "problems": problems}, indent=2))
    else:
        for problem in result.problems:
            typer.echo(str(problem))
        if not failed:
            members = sum(len(s.members) for s in result.services.values())
            typer.echo(f"{path}: sound ({len(result.services)} services, {members} members)")
    raise typer.Exit(1 if failed else 0)


def schema() -> None:
    """Print the JSON Schema of a site, for editors."""
    from rota.model import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
