"""TLS: does the port shake hands, and for how many days is its certificate good?"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rota.checks.net import Address
from rota.checks.probe import Probe, run
from rota.checks.trust import Tls
from rota.checks.verdict import Failure, Reason, Verdict
from rota.checks.wire import opened


@dataclass(frozen=True)
class TlsTarget:
    """A TLS port. Fewer than `min_days` days to the certificate's end count as down."""

    address: Address
    tls: Tls = field(default_factory=Tls)
    min_days: int = 0


async def check(target: TlsTarget, *, deadline: float = 3.0) -> Verdict:
    """Shake hands and look at the certificate. `deadline` is in seconds.

    Extras: `days_left` (whole days, negative once expired), `not_after` (ISO 8601, UTC), `tls_version`.
    """
    from cryptography import x509

    async def question(probe: Probe) -> str:
        async with opened(target.address, probe, target.tls) as wire:
            session = wire.tls
            der = session.getpeercert(True) if session else None
            version = session.version() if session else None
        if not der:
            raise Failure(Reason.TLS, "the server showed no certificate")
        try:
            certificate = x509.load_der_x509_certificate(der)
            begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        except ValueError as exc:
            raise Failure(Reason.TLS, "the server's certificate cannot be read") from exc
        now = datetime.now(UTC)
        days = math.floor((end - now).total_seconds() / 86400)
        probe.extras.update(days_left=days, not_after=end.isoformat(), tls_version=version)
        if end < now:
            raise Failure(Reason.EXPIRED, f"the server's certificate expired on {end:%Y-%m-%d}")
        if begin > now:
            raise Failure(Reason.TLS, f"the server's certificate is not valid before {begin:%Y-%m-%d}")
        if days < target.min_days:
            raise Failure(Reason.EXPIRING, f"{days} days to expiry on {end:%Y-%m-%d}, fewer than {target.min_days}")
        return f"{version}, {days} days to expiry on {end:%Y-%m-%d}"

    return await run(question, deadline)
