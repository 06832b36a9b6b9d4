from __future__ import annotations

import grp
import os
import pwd
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from rota.control.access import Access, Caller, Right, access, caller_of, person_of

ACCESS = Access(frozenset({10}), frozenset({20}))


def test_the_kernel_names_the_caller() -> None:
    near, far = socket.socketpair(socket.AF_UNIX)
    with near, far:
        assert caller_of(near) == Caller(os.getuid(), frozenset({os.getgid(), *os.getgroups()}))


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_the_kernel_names_another_user_with_all_their_groups() -> None:
    """SO_PEERCRED has one group only; an operator's right usually comes from a further one."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        Path(folder).chmod(0o755)
        path = Path(folder) / "s"
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        listener.settimeout(10)
        code = (
            "import os, socket, sys; os.setgroups([3001, 3002]); os.setgid(65534); os.setuid(65534);"
            "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)"
        )
        child = subprocess.Popen([sys.executable, "-c", code, str(path)])
        near, _ = listener.accept()
        with near:
            found = caller_of(near)
        assert child.wait(10) == 0
    assert found == Caller(65534, frozenset({65534, 3001, 3002}))


def test_a_tcp_socket_has_no_caller() -> None:
    with socket.socket() as sock, pytest.raises(OSError, match="UNIX"):
        caller_of(sock)


@pytest.mark.parametrize(
    ("uid", "groups", "right"),
    [(0, [], Right.ACT), (1, [10], Right.ACT), (1, [10, 20], Right.ACT), (1, [20], Right.READ), (1, [0], Right.NONE)],
)
def test_rights(uid: int, groups: list[int], right: Right) -> None:
    assert ACCESS.right(Caller(uid, frozenset(groups))) is right


def test_groups_by_name() -> None:
    root = grp.getgrgid(0).gr_name
    assert access(root, "no-such-group-here") == Access(frozenset({0}), frozenset())


def test_person() -> None:
    root, nobody = Caller(0, frozenset()), Caller(65534, frozenset())
    assert person_of(root, None) == pwd.getpwuid(0).pw_name
    assert person_of(root, "anna") == "anna"
    assert person_of(root, r"HOSPITAL\anna") == r"HOSPITAL\anna"
    assert person_of(nobody, "nobody") == "nobody"
    assert person_of(nobody, "anna") == "anna via nobody"
    assert person_of(Caller(4_000_000, frozenset()), None) == "uid 4000000"
