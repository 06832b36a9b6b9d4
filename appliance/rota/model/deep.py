"""Deep checks in the model: what HAProxy cannot ask, asked by rotad at a slow pace."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from rota.model.fields import AeTitle, Count, Duration, Line, Name, Port, Token, UrlPath


class DeepKind(StrEnum):
    """What is asked."""

    FIND = "find"  # C-FIND for Rota's own test patient
    STORE = "store"  # trial C-STORE of Rota's own marked instance
    STORAGE = "storage"  # room left, out of a REST field or from a file agent
    HTTP = "http"
    SOAP = "soap"
    POSTGRESQL = "postgresql"
    MYSQL = "mysql"  # MariaDB too
    MSSQL = "mssql"
    CERTIFICATE = "certificate"  # days left
    LDAP = "ldap"  # bind
    COMMAND = "command"  # the site's own executable

    @property
    def is_database(self) -> bool:
        """Whether it logs in and runs a query."""
        return self in (DeepKind.POSTGRESQL, DeepKind.MYSQL, DeepKind.MSSQL)

    @property
    def is_dicom(self) -> bool:
        """Whether it opens an association."""
        return self in (DeepKind.FIND, DeepKind.STORE)

    @property
    def is_web(self) -> bool:
        """Whether it speaks HTTP."""
        return self in (DeepKind.HTTP, DeepKind.SOAP, DeepKind.STORAGE)


class Effect(StrEnum):
    """What a failure leads to."""

    OUT = "out"  # no new work for the member, and an alarm
    WARN = "warn"  # an alarm alone


def _secret(value: Any) -> str:
    if not isinstance(value, str) or not value or "/" in value or value.startswith(".") or not value.isprintable():
        raise ValueError(f"{value!r} is not the bare name of a file in the nodes' folder of credentials")
    return value


Secret = Annotated[str, BeforeValidator(_secret), WithJsonSchema({"type": "string", "pattern": "^[^./][^/]*$"})]


class DeepCheck(BaseModel):
    """One question to each member of a service. Keys that mean nothing to `kind` are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: DeepKind
    name: Name = Field("", description="How it is called in status and alarms. Unset: its kind.", validate_default=False)
    interval: Duration = Field(60_000, description="Pace while all is well.")
    retry: Duration = Field(10_000, description="Pace while a verdict is about to change, and while it is bad.")
    timeout: Duration = Field(10_000, description="For all steps together.")
    fall: Count = 2
    rise: Count = 1
    effect: Effect = Effect.OUT
    port: Port | None = Field(None, description="Unset: that of the member's check, or the usual one of a database or LDAP.")
    tls: bool | None = Field(None, description="Ask inside TLS. Unset: as the members' traffic; databases and LDAP: no.")
    start_tls: bool | None = Field(None, description="LDAP: turn the plain port to TLS before the bind (RFC 4511, 4.14).")
    credentials: Secret | None = Field(None, description="File with username and password, on the nodes only.")
    calling_ae: AeTitle | None = None
    called_ae: AeTitle | None = Field(None, description="Unset: as the member's check.")
    path: UrlPath | None = None
    method: Token | None = None
    host: Token | None = None
    status: Token | None = Field(None, description="A status or a range, e.g. 200 or 200-399.")
    headers: dict[Token, Line] | None = Field(None, description="Header → text that its value must hold.")
    json_values: dict[Line, Line] | None = Field(
        None, description="JSONPath (RFC 9535) → the value wanted; <, <=, > and >= compare numbers."
    )
    expect: Line | None = Field(None, description="Text that the answer must hold; of a query: its first value.")
    element: Token | None = Field(None, description="Name of the element that the SOAP body must hold.")
    soap_action: Token | None = None
    field: Line | None = Field(None, description="JSONPath of the number that says how much room is left.")
    minimum: float | None = Field(None, ge=0, description="Least room, in the unit of the field.")
    database: Token | None = None
    query: Line | None = None
    days: Count | None = Field(None, description="Least days that the certificate must still be valid.")
    argv: list[Line] | None = Field(None, description="Program and arguments; {address}, {port}, {member} are filled in.")


_SLOW = {"interval": "5m", "retry": "30s", "timeout": "20s"}
# What each kind starts from, as an operator would write it.
DEFAULTS: dict[str, dict[str, Any]] = {
    "find": {"interval": "2m"},
    "store": _SLOW,
    "storage": {"interval": "5m", "status": "200"},
    "http": {"path": "/", "method": "GET", "status": "200-399"},
    "soap": {"path": "/", "status": "200"},
    "postgresql": {"port": 5432, "database": "postgres", "query": "SELECT 1"},
    "mysql": {"port": 3306, "query": "SELECT 1"},
    "mssql": {"port": 1433, "query": "SELECT 1"},
    # A certificate that ends in three weeks is a job for a person, and no reason to send work elsewhere.
    "certificate": {"interval": "6h", "retry": "1h", "days": 21, "effect": "warn"},
    "ldap": {"port": 389},
    "command": {},
}
_WEB = {"path", "host", "status", "tls"}
_DATABASE = {"credentials", "tls", "database", "query", "expect"}
KEYS: dict[str, set[str]] = {
    "find": {"calling_ae", "called_ae", "tls"},
    "store": {"calling_ae", "called_ae", "tls"},
    "storage": {*_WEB, "field", "minimum", "credentials"},
    "http": {*_WEB, "method", "headers", "json_values", "expect", "credentials"},
    "soap": {*_WEB, "element", "soap_action"},
    "postgresql": _DATABASE,
    "mysql": _DATABASE,
    "mssql": _DATABASE,
    "certificate": {"days"},
    "ldap": {"credentials", "tls", "start_tls"},
    "command": {"argv"},
}
NEEDED: dict[str, tuple[tuple[str, str], ...]] = {
    "storage": (("minimum", "how much room must be left"),),
    "postgresql": (("credentials", "a query needs a login"),),
    "mysql": (("credentials", "a query needs a login"),),
    "mssql": (("credentials", "a query needs a login"),),
    "ldap": (("credentials", "a bind needs a name and a password"),),
    "soap": (("element", "which element shows that the service works"),),
    "command": (("argv", "which program to run"),),
}


def spelled_out(written: Any, ae_title: str | None) -> Any:
    """`written`, the value of `deep`, with short forms spelled out and the defaults of each kind filled in."""
    if not isinstance(written, list):
        return written
    return [_check({"kind": item} if isinstance(item, str) else item, ae_title) for item in written]


def _check(item: Any, ae_title: str | None) -> Any:
    if not isinstance(item, dict):
        return item
    kind = str(item.get("kind"))
    known = kind in DEFAULTS
    result = {**({"name": kind} if known else {}), **DEFAULTS.get(kind, {}), **item}
    if kind == "ldap" and item.get("tls") is True and "port" not in item:
        result["port"] = 636
    if kind in ("find", "store") and ae_title and not item.get("calling_ae"):
        result["calling_ae"] = ae_title
    return result
