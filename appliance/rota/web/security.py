"""What holds for every request and answer: which host, how large, how often, and what a browser may do with it."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, abort, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_wtf.csrf import CSRFProtect

from rota.web.config import WebConfig
from rota.web.worker import long_lived

MAX_BODY = 64 * 1024  # bytes
# Static files only: no inline script or style, nothing from elsewhere, and nobody frames it.
POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "font-src 'self'", "connect-src 'self'",
    "manifest-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'",
))  # fmt: skip
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
csrf = CSRFProtect()
# One worker process serves all threads, so its memory counts exactly.
limiter = Limiter(get_remote_address, storage_uri="memory://", default_limits=["600 per minute"])


def install(app: Flask, config: WebConfig) -> None:
    """Bind `app` to the hosts, sizes and cookies of `config`."""
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BODY,
        MAX_FORM_MEMORY_SIZE=MAX_BODY,
        MAX_FORM_PARTS=200,
        SESSION_COOKIE_NAME="__Host-rota",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",  # Strict would lose the sign-in that comes back from a single sign-on
        SESSION_COOKIE_PATH="/",
        SESSION_REFRESH_EACH_REQUEST=False,
        PREFERRED_URL_SCHEME="https",
        WTF_CSRF_CHECK_DEFAULT=False,  # rota.web.guard does it, once it knows who asks
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session
        WTF_CSRF_SSL_STRICT=True,
        RATELIMIT_HEADERS_ENABLED=True,
    )
    app.before_request(lambda: _host(config))
    csrf.init_app(app)
    limiter.init_app(app)
    app.after_request(_harden)


def safe_next(target: str | None, fallback: str) -> str:
    """`target` when it is a path on this host, else `fallback`: never a way out to another site."""
    if not target or len(target) > 500 or not target.startswith("/") or target.startswith(("//", "/\\")):
        return fallback
    if any(ord(c) < 0x21 or c == "\\" or ord(c) == 0x7F for c in target):
        return fallback
    parts = urlsplit(target)
    return fallback if parts.scheme or parts.netloc else target


def _host(config: WebConfig) -> None:
    """Refuse a name that is not ours: a page built for it could send people elsewhere (and DNS rebinding ends here)."""
    name, _, port = (
        request.host.lower().rpartition(":") if not request.host.endswith("]") else (request.host.lower(), "", "")
    )
    if not name:
        name, port = port, ""
    if name.strip("[]") not in config.hosts or (port and port != str(config.port)):
        abort(400)


def _harden(answer: Response) -> Response:
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)
    if answer.mimetype == "text/event-stream":
        long_lived(request.environ)
    if request.endpoint != "static":
        answer.headers.setdefault("Cache-Control", "no-store")
    return answer
