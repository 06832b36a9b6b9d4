"""Real PostgreSQL, MariaDB and OpenLDAP of Debian on loopback, each in a folder of its own, run by an unprivileged user."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from lib.network import need
from lib.poll import wait_until

from peers.pki import Pair
from peers.tcp import free_port

USER = "nobody"
PASSWORD = "correct horse"  # noqa: S105


def _need(package: str, program: Path | None) -> None:
    if program is None or not program.exists():
        need(package)


def _as_user(argv: list[str]) -> list[str]:
    """None of them runs as root."""
    return ["setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups", *argv] if os.geteuid() == 0 else argv


def _own(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        shutil.chown(folder, USER, "nogroup")


@contextlib.contextmanager
def _running(argv: list[str], folder: Path, port: int, ready: str = "") -> Iterator[int]:
    import socket

    def listens() -> bool:
        assert_alive()
        # a server that still starts takes connections, and turns them away
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return ready in (folder / "log").read_text(errors="replace")
        return False

    def assert_alive() -> None:
        if process.poll() is not None:
            raise RuntimeError((folder / "log").read_text(errors="replace")[-2000:])

    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(_as_user(argv), stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        wait_until(listens, within=30)
        yield port
    finally:
        process.kill()
        process.wait(10)


def _postgres() -> Path | None:
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)), None)


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[int]:
    """PostgreSQL with user `rota` and PASSWORD; yields its port."""
    _need("postgresql", _postgres())
    program = _postgres()
    assert program is not None
    _own(folder)
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    data = folder / "data"
    setup = [str(program.with_name("initdb")), "-D", str(data), "-U", "rota", f"--pwfile={secret}", "-A", "scram-sha-256"]
    subprocess.run(_as_user([*setup, "--no-sync", "-E", "UTF8", "--locale=C"]), check=True, capture_output=True, timeout=120)
    port = free_port()
    argv = [str(program), "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-F"]
    with _running(argv, folder, port, "ready to accept connections"):
        yield port


@contextlib.contextmanager
def mariadb(folder: Path) -> Iterator[int]:
    """MariaDB with user `rota` and PASSWORD; yields its port."""
    program = Path("/usr/sbin/mariadbd")
    _need("mariadb-server-core", program)
    _need("mariadb-client-core", Path("/usr/bin/my_print_defaults"))
    _own(folder)
    start = folder / "init.sql"
    start.write_text(f"CREATE USER 'rota'@'%' IDENTIFIED BY '{PASSWORD}';\nGRANT SELECT ON *.* TO 'rota'@'%';\n")
    start.chmod(0o644)
    data = folder / "data"
    setup = [
        "mariadb-install-db",
        "--no-defaults",
        f"--datadir={data}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
    ]
    subprocess.run(_as_user(setup), check=True, capture_output=True, timeout=120)
    port = free_port()
    argv = [str(program), "--no-defaults", f"--datadir={data}", "--bind-address=127.0.0.1", f"--port={port}"]
    argv += [f"--socket={folder}/s", f"--init-file={start}", "--skip-name-resolve", "--innodb-flush-method=nosync"]
    with _running(argv, folder, port, "ready for connections"):
        yield port


@contextlib.contextmanager
def slapd(folder: Path, *, tls: Pair | None = None, secure_port: int = 0) -> Iterator[int]:
    """OpenLDAP's server with `cn=rota,dc=example` and PASSWORD; yields its port.

    With `tls` it offers StartTLS there, and LDAPS on `secure_port`; it knows who is a member of which group (memberOf).
    """
    program = Path("/usr/sbin/slapd")
    _need("slapd", program)
    _own(folder)
    (folder / "db").mkdir()
    _own(folder / "db")
    config = folder / "slapd.conf"
    text = "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n"
    if tls:
        for name, path in (("crt", tls.cert), ("key", tls.key)):
            (folder / name).write_bytes(path.read_bytes())
            (folder / name).chmod(0o644)
        text += f"moduleload memberof\nTLSCertificateFile {folder}/crt\nTLSCertificateKeyFile {folder}/key\n"
    text += (
        f"pidfile {folder}/pid\ndatabase mdb\nmaxsize 10485760\nsuffix dc=example\nrootdn cn=rota,dc=example\n"
        f'rootpw "{PASSWORD}"\ndirectory {folder}/db\n'
    )
    config.write_text(text + ("overlay memberof\n" if tls else ""))
    config.chmod(0o644)
    port = free_port()
    urls = f"ldap://127.0.0.1:{port}" + (f" ldaps://127.0.0.1:{secure_port}" if tls else "")
    with _running([str(program), "-d", "256", "-f", str(config), "-h", urls], folder, port):
        yield port
