"""Answers are compressed: hospitals' remote sites hang on thin lines.

A page that holds a secret (the CSRF token) beside what the asker chose may leak it by its compressed length (BREACH, 2013).
As Django does, the length is made uncertain: the gzip header carries a file name of random length.
"""

from __future__ import annotations

import gzip
import secrets
import zlib
from pathlib import Path

from flask import Flask, Response, request

_TYPES = (
    "text/html",
    "text/css",
    "text/javascript",
    "application/javascript",
    "application/json",
    "image/svg+xml",
    "text/csv",
)
_LEAST = 700  # bytes; below, it is not worth it
_NOISE = 100  # bytes at most
_kept: dict[tuple[str, int], bytes] = {}


def install(app: Flask) -> None:
    """Compress what `app` answers."""
    app.after_request(_compress)


def pack(data: bytes, *, noise: int = 0, level: int = 5) -> bytes:
    """`data` as gzip (RFC 1952), with a file name of `noise` letters in its header."""
    flags = b"\x08" if noise else b"\x00"
    name = b"a" * noise + b"\x00" if noise else b""
    body = zlib.compressobj(level, zlib.DEFLATED, -15)
    head = b"\x1f\x8b\x08" + flags + b"\x00" * 4 + b"\x00\xff" + name
    tail = zlib.crc32(data).to_bytes(4, "little") + (len(data) & 0xFFFFFFFF).to_bytes(4, "little")
    return head + body.compress(data) + body.flush() + tail


def _compress(answer: Response) -> Response:
    if answer.mimetype not in _TYPES or answer.status_code != 200 or "Content-Encoding" in answer.headers:
        return answer
    static = request.endpoint == "static"
    if static and "v" in request.args:
        answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    answer.vary.add("Accept-Encoding")
    if request.accept_encodings["gzip"] == 0 or (answer.is_streamed and not static):
        return answer
    data = _file(answer) if static else answer.get_data()
    if len(data) < _LEAST:
        return answer
    packed = data if static else pack(data, noise=1 + secrets.randbelow(_NOISE))
    answer.direct_passthrough = False
    answer.set_data(packed)
    answer.headers["Content-Encoding"] = "gzip"
    answer.headers.pop("ETag", None)
    return answer


def _file(answer: Response) -> bytes:
    """A static file, compressed once: its twin from the build, or here at its first use."""
    from flask import current_app

    path = Path(current_app.static_folder or "") / (request.view_args or {}).get("filename", "")
    key = (str(path), path.stat().st_mtime_ns)
    if key not in _kept:
        twin = path.with_name(f"{path.name}.gz")
        _kept[key] = twin.read_bytes() if twin.is_file() else gzip.compress(path.read_bytes(), 9, mtime=0)
    return _kept[key]
