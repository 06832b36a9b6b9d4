"""What the shell offers after Tab: commands and options by themselves, services and members from rotad."""

from __future__ import annotations

from typing import Annotated

import typer

from rota.said import Said

SHELLS = ("bash", "zsh", "fish")
PATIENCE = 1.0  # s: a Tab that hangs is worse than one that offers nothing


def services(incomplete: str) -> list[str]:
    """The services whose names begin so; none when rotad is silent."""
    from rota.control.client import Rotad

    try:
        return [s.name for s in Rotad(timeout=PATIENCE).status().services if s.name.startswith(incomplete)]
    except Said:
        return []


def members(ctx: typer.Context, incomplete: str) -> list[str]:
    """The members whose names begin so: of the service typed before, or of all."""
    from rota.control.client import Rotad

    service = ctx.params.get("service")
    try:
        found = [s for s in Rotad(timeout=PATIENCE).status().services if service in (None, s.name)]
    except Said:
        return []
    return list(dict.fromkeys(m.name for s in found for m in s.members if m.name.startswith(incomplete)))


def planned(incomplete: str) -> list[str]:
    """The ids of windows that can be called off."""
    from rota.control.client import Rotad

    try:
        found = Rotad(timeout=PATIENCE).status().windows
    except Said:
        return []
    return [w.id for w in found if w.phase == "planned" and w.id.startswith(incomplete)]


def completion(
    shell: Annotated[str, typer.Argument(help="bash, zsh or fish.", show_default=False)],
) -> None:
    """Print what makes a shell complete `rota`, to be sourced or put into its folder of completions.

    Example: rota completion bash > /etc/bash_completion.d/rota
    """
    from typer._completion_shared import get_completion_script

    if shell not in SHELLS:
        raise Said(f"no completion for {shell!r}; there is one for {', '.join(SHELLS)}")
    typer.echo(get_completion_script(prog_name="rota", complete_var="_ROTA_COMPLETE", shell=shell))
