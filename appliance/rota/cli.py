"""The `rota` command. Each area has its own module; this one joins them, and keeps the exit status to 0 and 1."""

from __future__ import annotations

import sys

import click
import typer

from rota.checks.cli import app as check
from rota.model.cli import schema, validate

app = typer.Typer(
    help="Rota keeps medical imaging available: one address in front of many servers.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(validate)
app.command()(schema)
app.add_typer(check, name="check")


def main() -> None:
    """Run `rota`. Exit 0 or 1 and nothing else: keepalived reads 2–255 as healthy with another weight."""
    try:
        code = app(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = 1
    except click.ClickException as error:
        print(f"rota: {error.format_message()}", file=sys.stderr)
        code = 1
    except (click.Abort, KeyboardInterrupt):
        print("rota: interrupted", file=sys.stderr)
        code = 1
    sys.exit(1 if code else 0)


if __name__ == "__main__":
    main()
