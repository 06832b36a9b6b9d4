"""Databases: log in, run one query, look at its first value. The session can write nothing where the server allows that.

No message of a server is ever shown: it may quote the query or a value. Its code is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from rota.checks.net import connect, connect_failure
from rota.checks.probe import Probe
from rota.checks.trust import tls_failure
from rota.checks.verdict import Failure, Reason
from rota.control.deep.question import Question

T = TypeVar("T")


def _judge(question: Question, rows: int, value: Any) -> str:
    check = question.check
    if rows == 0:
        raise Failure(Reason.QUERY, "the query has no answer: not one row")
    if check.expect is not None and str(value) != check.expect:
        raise Failure(Reason.QUERY, "the query answers another value than the wanted one")
    return "query answered"


async def postgresql(question: Question, probe: Probe) -> str:
    """PostgreSQL, by asyncpg."""
    import asyncpg

    check, login, trust = question.check, question.login(), question.trust()
    address = question.address
    probe.doing = f"connection and login to {address}"
    connection: Any = None
    try:
        connection = await asyncpg.connect(
            host=address.host, port=address.port, user=login.username, password=login.password,
            database=check.database, timeout=question.deadline + 1, ssl=trust.context() if trust else False,
            statement_cache_size=0,
            server_settings={"application_name": "rota", "default_transaction_read_only": "on"},
        )  # fmt: skip
        probe.connected, probe.received, probe.doing = True, 1, "query"
        rows = await connection.fetch(check.query)
        with contextlib.suppress(Exception):
            await connection.close(timeout=min(1.0, probe.remaining))
        return _judge(question, len(rows), rows[0][0] if rows and len(rows[0]) else None)
    except asyncpg.PostgresError as error:
        raise _postgres(error) from None
    except ssl.SSLError as error:
        raise tls_failure(error) from None
    except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise Failure(Reason.BAD_ANSWER, f"not the answer of PostgreSQL ({type(error).__name__})") from None
    except ConnectionError as error:
        if trust and "SSL" in str(error):
            raise Failure(Reason.TLS, "the server takes no TLS") from None
        if error.errno:
            raise connect_failure(error, str(address)) from None
        raise Failure(Reason.CLOSED, "the server ended the connection in place of an answer") from None
    except TimeoutError as error:
        if error.errno:
            raise connect_failure(error, str(address)) from None
        raise
    except OSError as error:
        raise connect_failure(error, str(address)) from None
    finally:
        if connection is not None and not connection.is_closed():
            connection.terminate()


def _postgres(error: Any) -> Failure:
    state = str(getattr(error, "sqlstate", None) or "")
    if state.startswith("28"):
        return Failure(Reason.LOGIN, f"login refused (SQLSTATE {state})")
    if state == "53100":
        return Failure(Reason.NO_ROOM, "the database says that its disk is full (SQLSTATE 53100)")
    if state.startswith("53") or state == "57P03":
        return Failure(Reason.BUSY, f"the database takes no more work now (SQLSTATE {state})")
    if state.startswith("08"):
        return Failure(Reason.CLOSED, "the server ended the connection in place of an answer")
    return Failure(Reason.QUERY, f"refused (SQLSTATE {state or 'unknown'})")


async def mysql(question: Question, probe: Probe) -> str:
    """MySQL and MariaDB, by PyMySQL."""
    import pymysql

    check, login, trust = question.check, question.login(), question.trust()

    def work(sock: socket.socket) -> tuple[int, Any]:
        connection = pymysql.connections.Connection(
            host=question.address.host, user=login.username, password=login.password, database=check.database,
            defer_connect=True, read_timeout=question.deadline, write_timeout=question.deadline, program_name="rota",
            ssl=trust.context() if trust else None, ssl_disabled=trust is None,
            init_command="SET SESSION TRANSACTION READ ONLY",
        )  # fmt: skip
        connection.connect(sock)
        try:
            with connection.cursor() as cursor:
                cursor.execute(check.query or "")
                row = cursor.fetchone()
        finally:
            with contextlib.suppress(Exception):
                connection.close()
        return (0, None) if row is None else (1, row[0])

    try:
        return _judge(question, *await _threaded(question, probe, work))
    except pymysql.MySQLError as error:
        raise _mysql(error) from None
    except (
        ssl.SSLError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AssertionError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise _broken(error, "MySQL") from None


def _mysql(error: Any) -> Failure:
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLError):
        return tls_failure(cause)
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    if code in (1044, 1045, 1698, 1820, 1862, 3118, 4151):
        return Failure(Reason.LOGIN, f"login refused (error {code})")
    if code in (1021, 1114):
        return Failure(Reason.NO_ROOM, f"the database says that its disk is full (error {code})")
    if code in (1040, 1203, 1226, 1129):
        return Failure(Reason.BUSY, f"the database takes no more work now (error {code})")
    if code in (2006, 2013, 2003):
        return Failure(Reason.CLOSED, "the server ended the connection in place of an answer")
    if code in (0, 2014, 2027, 2026, 2012):
        return Failure(Reason.TLS if code == 2026 else Reason.BAD_ANSWER, f"not the answer of MySQL (error {code})")
    return Failure(Reason.QUERY, f"refused (error {code})")


class _Ended(Exception):
    """The connection failed. No OSError: python-tds would sleep and then try the same dead connection again."""


class _Once:
    """A socket whose failures end the check."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise _Ended from error

    def recv_into(self, buffer: memoryview, size: int = 0) -> int:
        try:
            return self._sock.recv_into(buffer, size)
        except OSError as error:
            raise _Ended from error


async def mssql(question: Question, probe: Probe) -> str:
    """Microsoft SQL Server, by python-tds. Inside TLS the certificate must come from the members' CA."""
    import pytds

    check, login, trust = question.check, question.login(), question.trust()
    if trust is not None and trust.ca is None:
        raise Failure(Reason.USAGE, "tls needs the service's tls.member_ca")

    def work(sock: socket.socket) -> tuple[int, Any]:
        with pytds.connect(
            dsn=question.address.host, port=question.address.port, database=check.database, user=login.username,
            password=login.password, timeout=question.deadline, login_timeout=0.8 * question.deadline, appname="rota",
            sock=_Once(sock), cafile=str(trust.ca) if trust else None, validate_host=bool(trust and trust.server_name),
            disable_connect_retry=True, autocommit=True, readonly=True,
        ) as connection, connection.cursor() as cursor:  # fmt: skip
            cursor.execute(check.query)
            row = cursor.fetchone()
        return (0, None) if row is None else (1, row[0])

    try:
        return _judge(question, *await _threaded(question, probe, work))
    except Failure:
        raise
    except Exception as error:
        # with disable_connect_retry it waits out the login's time and then says TimeoutError, whatever the server said
        raise _mssql(error.__cause__ if isinstance(error, TimeoutError) and error.__cause__ else error, probe) from None


def _mssql(error: BaseException, probe: Probe) -> Failure:
    import pytds

    number = getattr(error, "number", 0) or getattr(error, "msg_no", 0)
    cause = error.__cause__ if isinstance(error, _Ended) else None
    if isinstance(cause, TimeoutError):
        return Failure(*probe.late())
    if isinstance(error, _Ended | pytds.ClosedConnectionError):
        return Failure(Reason.CLOSED, "the server ended the connection in place of an answer")
    if isinstance(error, pytds.LoginError) or number in (4060, 18452, 18456, 18486, 18487, 18488):
        return Failure(Reason.LOGIN, f"login refused (error {number or 18456})")
    if number in (1105, 9002):
        return Failure(Reason.NO_ROOM, f"the database says that its disk is full (error {number})")
    if isinstance(error, pytds.Error) and number:
        return Failure(Reason.QUERY, f"refused (error {number})")
    # a driver that meets nonsense raises whatever it stumbles over
    return _broken(error, "SQL Server")


def _broken(error: BaseException, what: str) -> Failure:
    if isinstance(error, Failure):
        return error
    if isinstance(error, ssl.SSLError):
        return tls_failure(error)
    if isinstance(error, ConnectionError | EOFError) and not isinstance(error, ssl.SSLError):
        return Failure(Reason.CLOSED, "the server ended the connection in place of an answer")
    return Failure(Reason.BAD_ANSWER, f"not the answer of {what} ({type(error).__name__})")


async def _threaded(question: Question, probe: Probe, work: Callable[[socket.socket], T]) -> T:
    """Run `work`, which blocks, on a connection of our own in a thread of its own.

    Cutting the connection ends the thread, so neither a silent nor a dripping server outlives the deadline, and no check
    waits for the thread of another.
    """
    sock = await connect(question.address, probe)
    probe.doing = "login and query"
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    # the driver may wrap, detach or close the socket that it is given; this one stays ours
    ours = socket.socket(fileno=socket.dup(sock.fileno()))

    def settle(result: Any, problem: BaseException | None) -> None:
        if not done.done():
            done.set_exception(problem) if problem else done.set_result(result)

    def run() -> None:
        result: Any = None
        problem: BaseException | None = None
        try:
            sock.setblocking(True)
            result = work(sock)
        except BaseException as error:
            problem = RuntimeError("stopped") if isinstance(error, StopIteration) else error
        finally:
            sock.close()
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(settle, result, problem)

    threading.Thread(target=run, name=f"deep-{question.check.kind}", daemon=True).start()
    try:
        return await done
    finally:
        with contextlib.suppress(OSError):
            probe.received = max(probe.received, _received(ours))
            ours.shutdown(socket.SHUT_RDWR)
        ours.close()


def _received(sock: socket.socket) -> int:
    """Bytes that came (tcpi_bytes_received of linux/tcp.h)."""
    return int.from_bytes(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)[128:136], "little")
