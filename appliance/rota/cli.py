"""The `rota` command. Each area has its own module; this one joins them, and keeps the exit status to 0 and 1."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from rota.said import Said

# Name → where it lives (a function or a typer app) and its line in `rota --help`. Imported on use only: the model, the
# checks and the daemons together cost most of a second, and `rota --help` needs none of them.
COMMANDS = {
    "validate": ("rota.model.cli:validate", "Check a site: every problem in one run, one per line."),
    "schema": ("rota.model.cli:schema", "Print the JSON Schema of a site, for editors."),
    "status": ("rota.commands.status:status", "Show services, members, who is active and what is wrong."),
    "who": ("rota.commands.watch:who", "Show who is connected now, by address and AE title."),
    "events": ("rota.commands.watch:events", "Show the journal: every change, with time, reason and name."),
    "drain": ("rota.commands.act:drain", "Send a member no new work; what runs goes on to its end."),
    "halt": ("rota.commands.act:halt", "Cut a member off now."),
    "ready": ("rota.commands.act:ready", "Bring a member back."),
    "windows": ("rota.commands.act:windows", "List maintenance windows: drains and halts that begin by themselves."),
    "call-off": ("rota.commands.act:call_off", "Call a planned maintenance window off."),
    "failover": ("rota.commands.failover:failover", "Hand the service addresses to the peer."),
    "preflight": ("rota.preflight.cli:preflight", "Look at every member from this node; list what vendors must allow."),
    "report": ("rota.commands.report:report", "Availability, outages and failovers of a period, for people and programs."),
    "alarm": ("rota.commands.alarm:app", "Send a test message by every way by which alarms go out."),
    "version": ("rota.commands.status:version", "Show the versions of this command and of rotad on both nodes."),
    "completion": ("rota.commands.complete:completion", "Print what makes bash, zsh or fish complete `rota`."),
    "check": ("rota.checks.cli:app", "Ask one server one question, as a health check does."),
    "verify": ("rota.verify:verify", "Ask every service through its address, and print a table."),
}


class _LazyGroup(TyperGroup):
    """A group that imports a command when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        found = getattr(import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(cmd_name)(found)
            found = single
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


app = typer.Typer(
    cls=_LazyGroup,
    help="Rota keeps medical imaging available: one address in front of many servers.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root() -> None:
    """Rota keeps medical imaging available: one address in front of many servers."""


def main() -> None:
    """Run `rota`. Exit 0 or 1 and nothing else: keepalived reads 2–255 as healthy with another weight."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")  # looking for plugins, which Rota has none of, takes 40 ms
    if "_ROTA_COMPLETE" in os.environ:  # the shell asks what may follow
        from typer._completion_classes import completion_init

        completion_init()
    try:
        code = app(prog_name="rota", standalone_mode=False)
        if code == 130:  # what typer makes of ctrl-C
            raise KeyboardInterrupt
    except typer.TyperException as error:
        # `rota` and `rota check` alone end here too.
        print(f"rota: {error.format_message().rstrip('.')}. Try --help.", file=sys.stderr)
        code = 1
    except Said as said:
        print(f"rota: {said}", file=sys.stderr)
        code = 1
    except (typer.Abort, KeyboardInterrupt):
        print("rota: interrupted", file=sys.stderr)
        code = 1
    except Exception as error:
        # A fault of ours: still one line and exit 1. ROTA_DEBUG=1 shows where.
        if os.environ.get("ROTA_DEBUG"):
            raise
        print(f"rota: internal error: {type(error).__name__}: {error}", file=sys.stderr)
        code = 1
    sys.exit(1 if code else 0)


if __name__ == "__main__":
    main()
