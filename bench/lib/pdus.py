"""The PDUs of a C-ECHO, as `bench.lib.prober` sends them."""

from __future__ import annotations

from rota.checks import dicom_codec as codec


def echo_pdus(called: str, calling: str) -> dict[str, str]:
    """Association request, C-ECHO and release request in hexadecimal."""
    message = codec.echo_request(1)
    return {
        "request": codec.associate_request(called, calling, [codec.ECHO]).hex(),
        "echo": codec.encode_message(message, codec.ECHO, 16382).hex(),
        "release": codec.release_request().hex(),
    }
