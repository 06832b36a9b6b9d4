"""A stand-in for an XDS registry and repository: answers SOAP 1.2 requests the way ITI TF-2 does.

HTTP on 8080, HTTPS on 8443; POST /registry and /repository. Every request becomes one line in
/var/lib/rota-lab/xds.jsonl: message id, action, path, caller, time. The documents are not kept.
"""

import re
import socket
import ssl
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

import faults

SUCCESS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"
FAILURE = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Failure"
ANSWER = """<?xml version="1.0" encoding="UTF-8"?>
<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://www.w3.org/2005/08/addressing">
<s:Header><a:Action s:mustUnderstand="1">{action}Response</a:Action><a:MessageID>urn:uuid:{own}</a:MessageID>\
<a:RelatesTo>{message}</a:RelatesTo></s:Header>
<s:Body><rs:RegistryResponse xmlns:rs="urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0" status="{status}"/></s:Body>
</s:Envelope>
"""


def element(body: str, name: str) -> str:
    """Return the text of the first element called `name`, whatever its prefix; empty if there is none."""
    found = re.search(rf"<(?:[\w.-]+:)?{name}(?:\s[^>]*)?>\s*([^<]*?)\s*</", body)
    return found.group(1) if found else ""


class Responder(BaseHTTPRequestHandler):
    """One caller's requests, over a kept-alive connection."""

    protocol_version = "HTTP/1.1"
    server_version = "rota-lab"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:  # noqa: N802 (the name http.server calls)
        """Answer a SOAP request: RegistryResponse, related to the request."""
        body = self._body().decode("utf-8", "replace")
        if self.path.rstrip("/") not in ("/registry", "/repository"):
            self._send(404, "text/plain", "no such service\n")
            return
        message, action = element(body, "MessageID"), element(body, "Action")
        rejected = faults.is_set("reject")
        time.sleep(faults.delay())
        faults.record("xds", message_id=message, action=action, path=self.path, caller=self.client_address[0])
        answer = ANSWER.format(
            action=escape(action), own=uuid.uuid4(), message=escape(message), status=FAILURE if rejected else SUCCESS
        )
        self._send(200, "application/soap+xml; charset=UTF-8", answer)

    def do_GET(self) -> None:  # noqa: N802 (the name http.server calls)
        """Say that the server lives, and who it is."""
        self._send(200, "text/plain", f"{self.server.name}\n")

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Stay quiet: the record is in xds.jsonl."""


class Server(ThreadingHTTPServer):
    """An HTTP server that knows the lab host's name."""

    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int) -> None:
        """Listen on `port` of every IPv4 and IPv6 address."""
        with open("/etc/hostname", encoding="utf-8") as handle:
            self.name = handle.read().strip()
        super().__init__(("::", port), Responder)


def main() -> None:
    """Serve HTTP and HTTPS for ever."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/lab/server.pem")
    secure = Server(8443)
    secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=secure.serve_forever, daemon=True).start()
    Server(8080).serve_forever()


if __name__ == "__main__":
    main()
