"""`rota alarm`: does what an alarm would send arrive?"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rota.said import Said

if TYPE_CHECKING:
    from rota.control.notice.settings import Settings

app = typer.Typer(help="The ways by which alarms go out.", add_completion=False, rich_markup_mode=None)


@app.callback()
def _root() -> None:
    """The ways by which alarms go out."""


@app.command("test")
def send_test(
    config: Annotated[Path, typer.Option("--config", metavar="PATH", help="Configuration of rotad.")] = Path(
        "/etc/rota/rotad.toml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send a test message by every way that is configured, and say what became of each.

    Exit 1 when one of them failed. Needs the rights of root: it reads the credentials.

    Example: rota alarm test
    """
    from rota.commands import show
    from rota.control.config import BadConfig, load
    from rota.control.notice.settings import read

    try:
        loaded = load(config)
        settings = read(loaded.raw)
    except BadConfig as mistake:
        raise Said(str(mistake)) from None
    results = asyncio.run(_send(loaded.node, loaded.site, settings))
    if not results:
        raise Said(f"{config}: table [alarms] names no way: alarms reach nobody")
    if as_json:
        show.emit([{"way": name, "delivered": problem is None, "problem": problem} for name, problem in results])
    else:
        for name, problem in results:
            typer.echo(f"{name}: {'delivered' if problem is None else f'failed: {problem}'}")
    raise typer.Exit(0 if all(problem is None for _, problem in results) else 1)


async def _send(node: str, site: Path, settings: Settings) -> list[tuple[str, str | None]]:
    import json
    from datetime import UTC, datetime

    from rota.control.notice.desk import Notice
    from rota.control.notice.ways import Undelivered
    from rota.control.notices import Way, ways

    name = node
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):  # a test of the ways needs no model
        name = json.loads(site.read_text(encoding="utf-8"))["site"]["name"]
    now = datetime.now(UTC)
    notice = Notice("test", node, name, "test", "warning", "a test message: alarms reach you this way", now, now)
    found, syslog = ways(settings)

    async def one(way: Way) -> tuple[str, str | None]:
        try:
            await way.send(notice)
        except Undelivered as problem:
            return way.name, str(problem)
        return way.name, None

    results = await asyncio.gather(*(one(way) for way in [*found, *([syslog] if syslog else [])]))
    if syslog is not None:
        await syslog.close()
    return list(results)
