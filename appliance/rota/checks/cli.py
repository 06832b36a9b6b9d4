"""`rota check`: one question to one server, from a terminal, a runbook or keepalived's MISC_CHECK.

Exit status 0 is up, 1 is anything else. An up verdict goes to stdout, every other line to stderr; with `--json` one object
goes to stdout, for usage errors too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Coroutine
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rota.checks.verdict import Reason, Verdict


class _CheckGroup(TyperGroup):
    """Turns every usage error into one line and exit status 1 (typer would exit with 2)."""

    def invoke(self, ctx: Any) -> Any:
        as_json = "--json" in ctx.args
        try:
            return super().invoke(ctx)
        except (typer.TyperException, ValueError) as problem:
            text = problem.format_message() if isinstance(problem, typer.TyperException) else str(problem)
            _finish(Verdict(Reason.USAGE, _one_line(text)), as_json)


app = typer.Typer(
    cls=_CheckGroup,
    help="Ask one server one question. Exit status: 0 up, 1 anything else.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

HostPort = Annotated[str, typer.Argument(metavar="HOST:PORT", help="The server; IPv6 as [ADDRESS]:PORT.")]
Url = Annotated[str, typer.Argument(metavar="URL", help="http:// or https:// address.")]
Timeout = Annotated[
    float,
    typer.Option("--timeout", metavar="S", help="Seconds for all steps together, name look-up included."),
]
Json = Annotated[bool, typer.Option("--json", help="Print verdict, reason, detail and elapsed_ms as one JSON object.")]
UseTls = Annotated[bool, typer.Option("--tls", help="Speak TLS (1.2 or later).")]
Ca = Annotated[
    Path | None,
    typer.Option("--ca", metavar="F", help="PEM file of the CA to trust; without it nothing is verified."),
]
Cert = Annotated[Path | None, typer.Option("--cert", metavar="F", help="PEM file of our certificate (mutual TLS).")]
Key = Annotated[Path | None, typer.Option("--key", metavar="F", help="PEM file of its key, if not in the same file.")]
ServerName = Annotated[
    str | None,
    typer.Option("--server-name", metavar="NAME", help="Name to ask for and, with --ca, to find in the certificate."),
]

Host = Annotated[str | None, typer.Option("--host", metavar="NAME", help="Host header, if not the URL's host.")]
Expect = Annotated[str | None, typer.Option("--expect", metavar="TEXT", help="Text that the answer must hold.")]


class XdsKind(StrEnum):
    """The XDS actor behind an endpoint."""

    REGISTRY = "registry"
    REPOSITORY = "repository"
    IMAGING = "imaging"


@app.command("dicom")
def _dicom(
    server: HostPort,
    called: Annotated[str, typer.Option("--called", metavar="AE", help="Their AE title.")] = "ANY-SCP",
    calling: Annotated[str, typer.Option("--calling", metavar="AE", help="Our AE title.")] = "ROTA",
    find: Annotated[bool, typer.Option("--find", help="Also C-FIND (Study Root) for the test patient ROTA-CHECK.")] = False,
    store: Annotated[
        bool, typer.Option("--store", help="Also C-STORE of a tiny test instance, always the same one.")
    ] = False,
    use_tls: UseTls = False,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    server_name: ServerName = None,
    timeout: Timeout = 3.0,
    as_json: Json = False,
) -> None:
    """C-ECHO, and on request a query and a trial store, in one association."""
    from rota.checks import dicom
    from rota.checks.net import Address

    tls = _tls(use_tls, ca, cert, key, server_name)
    target = dicom.DicomTarget(Address.parse(server), called, calling, find, store, tls)
    _run(dicom.check(target, deadline=timeout), as_json)


@app.command("hl7")
def _hl7(
    server: HostPort,
    sender: Annotated[str, typer.Option("--sender", help="MSH-3, sending application.")] = "ROTA",
    sender_facility: Annotated[str, typer.Option(help="MSH-4, sending facility.")] = "ROTA",
    receiver: Annotated[str, typer.Option(help="MSH-5, receiving application.")] = "",
    receiver_facility: Annotated[str, typer.Option(help="MSH-6, receiving facility.")] = "",
    message_type: Annotated[str, typer.Option(help="MSH-9; agree it with the interface team.")] = "NMD^N02",
    hl7_version: Annotated[str, typer.Option(help="MSH-12.")] = "2.5",
    any_ack: Annotated[
        bool, typer.Option("--any-ack", help="An error or rejection of our message is up too: it was answered.")
    ] = False,
    use_tls: UseTls = False,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    server_name: ServerName = None,
    timeout: Timeout = 3.0,
    as_json: Json = False,
) -> None:
    """Send one HL7 message over MLLP and match its acknowledgement to it."""
    from rota.checks import hl7
    from rota.checks.net import Address

    tls = _tls(use_tls, ca, cert, key, server_name)
    target = hl7.Hl7Target(
        Address.parse(server),
        sender,
        sender_facility,
        receiver,
        receiver_facility,
        message_type,
        hl7_version,
        any_ack,
        tls,
    )
    _run(hl7.check(target, deadline=timeout), as_json)


@app.command("xds")
def _xds(
    url: Url,
    kind: Annotated[XdsKind, typer.Option("--kind", help="What the endpoint is.")] = XdsKind.REGISTRY,
    host: Host = None,
    action: Annotated[
        str | None, typer.Option("--action", metavar="URI", help="SOAP action, if not that of the transaction.")
    ] = None,
    expect: Expect = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    server_name: ServerName = None,
    timeout: Timeout = 3.0,
    as_json: Json = False,
) -> None:
    """Run one XDS transaction (SOAP 1.2) that finds nothing."""
    from rota.checks import xds

    tls = _tls(url.startswith("https:"), ca, cert, key, server_name)
    _run(xds.check(xds.XdsTarget(url, kind.value, tls, host, action, expect), deadline=timeout), as_json)


@app.command("http")
def _http(
    url: Url,
    status: Annotated[
        str, typer.Option("--status", metavar="LIST", help="Statuses that are up, such as 200-399,401.")
    ] = "200-399",
    method: Annotated[str, typer.Option("--method", metavar="WORD", help="HTTP method.")] = "GET",
    host: Host = None,
    expect: Expect = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    server_name: ServerName = None,
    timeout: Timeout = 3.0,
    as_json: Json = False,
) -> None:
    """Get a page and judge the status; redirects are not followed."""
    from rota.checks import http

    tls = _tls(url.startswith("https:"), ca, cert, key, server_name)
    _run(http.check(http.HttpTarget(url, status, tls, method, host, expect), deadline=timeout), as_json)


@app.command("tcp")
def _tcp(server: HostPort, timeout: Timeout = 3.0, as_json: Json = False) -> None:
    """Open a TCP connection and close it again."""
    from rota.checks import tcp
    from rota.checks.net import Address

    _run(tcp.check(tcp.TcpTarget(Address.parse(server)), deadline=timeout), as_json)


@app.command("tls")
def _tls_command(
    server: HostPort,
    min_days: Annotated[int, typer.Option("--min-days", metavar="N", help="Fewer days to expiry than this are down.")] = 0,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    server_name: ServerName = None,
    timeout: Timeout = 3.0,
    as_json: Json = False,
) -> None:
    """Shake hands and say for how many days the certificate is still valid."""
    from rota.checks import tls
    from rota.checks.net import Address
    from rota.checks.trust import Tls

    target = tls.TlsTarget(Address.parse(server), Tls(ca, cert, key, server_name), min_days)
    _run(tls.check(target, deadline=timeout), as_json)


@app.command("member")
def _member(
    service: Annotated[str, typer.Argument(help="Name of the service.")],
    member: Annotated[str, typer.Argument(help="Name of the member.")],
    site: Annotated[
        Path, typer.Option("--site", metavar="PATH", help="The model: site.json, or an inventory directory.")
    ] = Path("/etc/rota/site.json"),
    files: Annotated[Path, typer.Option("--files", metavar="DIR", help="The certificates of members on this node.")] = Path(
        "/etc/haproxy/certs"
    ),
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="S", help="Seconds for all steps. Default: as the model says.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask a member of a service what the model says that its check asks."""
    from rota.checks import member as members

    found, seconds = members.find(site, service, member, files)
    _run(members.check(found, deadline=seconds if timeout is None else timeout), as_json)


def _tls(use: bool, ca: Path | None, cert: Path | None, key: Path | None, server_name: str | None) -> Any:
    """Return the TLS settings, or None without TLS; ValueError for TLS options on a plain connection."""
    if not use:
        if ca or cert or key or server_name:
            raise ValueError("--ca, --cert, --key and --server-name need TLS (--tls or an https URL)")
        return None
    from rota.checks.trust import Tls

    return Tls(ca, cert, key, server_name)


def _run(check: Coroutine[Any, Any, Verdict], as_json: bool) -> None:
    quieten()
    try:
        verdict = asyncio.run(check)
    except KeyboardInterrupt:
        print("rota: interrupted", file=sys.stderr)
        raise typer.Exit(1) from None
    _finish(verdict, as_json)


def quieten() -> None:
    """Let nothing but the verdict reach the terminal or a journal, and end with status 1 on SIGTERM."""
    # pydicom warns about what a peer sent by quoting it.
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGTERM, _terminated)


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    # keepalived sends SIGTERM when misc_timeout has passed.
    os.write(2, b"rota: terminated\n")
    os._exit(1)


def _finish(verdict: Verdict, as_json: bool) -> None:
    """Print the verdict and end the command. A closed stdout does not change the exit status."""
    stream = sys.stdout if as_json or verdict.up else sys.stderr
    if verdict.reason is Reason.USAGE and not as_json:
        line = f"rota: {verdict.detail}"
    else:
        line = json.dumps(verdict.as_dict()) if as_json else str(verdict)
    try:
        print(line, file=stream, flush=True)
    except OSError:
        # Or Python would try to flush again at exit, fail again, and exit with 120.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    raise typer.Exit(verdict.exit_code)


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
