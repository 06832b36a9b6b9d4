"""What a check believes about certificates, and what it shows of its own.

Without `ca` the server's certificate is not verified: a health check asks whether the service lives. With `ca` the chain
is verified; the name only with `server_name`, because IHE ITI TF-2 3.19 (ATNA) does not tie a node's certificate to its
host name. HAProxy's `verify required` does the same, so both give one verdict.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from rota.checks.verdict import Failure, Reason

# openssl/x509_vfy.h: X509_V_ERR_CERT_HAS_EXPIRED
_HAS_EXPIRED = 10


@dataclass(frozen=True)
class Tls:
    """TLS as the checks use it: the CA to trust, our own certificate and key, the name to ask for and to verify."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        """Read the files once, so that a bad one is the caller's error before anything is sent."""
        if self.key is not None and self.cert is None:
            raise ValueError("--key needs --cert")
        self.context()

    def context(self) -> ssl.SSLContext:
        """Return a client context of TLS 1.2 or later (PS3.15 B.12); ValueError names the file that is no use."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if self.ca is not None:
            _readable("--ca", self.ca)
            try:
                context.load_verify_locations(self.ca)
            except (OSError, ValueError) as exc:
                raise ValueError(f"--ca: {self.ca} holds no PEM certificate") from exc
            context.verify_mode = ssl.CERT_REQUIRED
            context.check_hostname = self.server_name is not None
        if self.cert is not None:
            _readable("--cert", self.cert)
            if self.key is not None:
                _readable("--key", self.key)
            try:
                context.load_cert_chain(self.cert, self.key, password=_no_passphrase)
            except _EncryptedKeyError as exc:
                raise ValueError(f"--key: {self.key or self.cert} is encrypted; a check cannot ask") from exc
            except (OSError, ValueError) as exc:
                key = f" and {self.key}" if self.key else ""
                raise ValueError(f"--cert: {self.cert}{key} are no PEM certificate and its key") from exc
        return context


class _EncryptedKeyError(Exception):
    """The key wants a passphrase. OpenSSL would ask on the terminal, and wait for ever."""


def _no_passphrase() -> str:
    raise _EncryptedKeyError


def _readable(option: str, path: Path) -> None:
    # Regular files only: opening a pipe could block for longer than any deadline.
    if not path.exists():
        raise ValueError(f"{option}: {path} does not exist")
    if not path.is_file():
        raise ValueError(f"{option}: {path} is not a file")
    try:
        path.open("rb").close()
    except OSError as exc:
        raise ValueError(f"{option}: {path}: {exc.strerror}") from exc


def tls_failure(exc: ssl.SSLError) -> Failure:
    """Say what an error of the TLS layer means."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        if exc.verify_code == _HAS_EXPIRED:
            return Failure(Reason.EXPIRED, "the server's certificate has expired")
        return Failure(Reason.TLS, f"the server's certificate is not accepted: {exc.verify_message.rstrip('.')}")
    if isinstance(exc, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return Failure(Reason.TLS, "the server ended the connection during the TLS handshake")
    word = (exc.reason or "protocol error").replace("_", " ").lower()
    if word in ("wrong version number", "record layer failure", "packet length too long", "http request"):
        word += " (is this a plain port?)"
    return Failure(Reason.TLS, f"TLS failed: {word}")
