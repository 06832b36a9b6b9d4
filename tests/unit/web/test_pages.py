"""Every page, for every role, with rotad well and with rotad silent."""

from __future__ import annotations

import pytest
from rota.web.auth.people import Role
from unit.web.conftest import Browser, Rotad, SignIn

PAGES = [
    "/", "/?q=pacs&show=problems&by=kind", "/service/pacs", "/maintenance/", "/maintenance/member/pacs-b", "/maintenance/patch/pacs-b",
    "/maintenance/node", "/maintenance/failover/", "/events", "/reports", "/certificates", "/about",
]  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("role", list(Role))
def test_a_page_is_there_for_every_role(as_: SignIn, path: str, role: Role) -> None:
    answer = as_(role).get(path)
    assert answer.status_code == 200
    assert "<h1" in answer.text
    assert "style=" not in answer.text  # the policy of the app forbids it
    assert "<script>" not in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_nobody_sees_a_page_without_sign_in(browser: Browser, path: str) -> None:
    answer = browser.get(path)
    assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (302, "/sign-in")


@pytest.mark.parametrize("path", PAGES)
def test_with_rotad_silent_nothing_is_green(as_: SignIn, rotad: Rotad, path: str) -> None:
    viewer = as_(Role.VIEWER)
    rotad.stop()
    answer = viewer.get(path)
    assert answer.status_code in (200, 503)
    assert "does not answer" in answer.text
    assert "tag-good" not in answer.text.replace("what browsers see", "")


ACTS = [
    "/maintenance/member/pacs-b",
    "/maintenance/member/pacs-b/do",
    "/maintenance/undo",
    "/maintenance/failover/",
    "/support-bundle",
    "/maintenance/window/a00001",
]


@pytest.mark.parametrize("path", ACTS)
def test_a_viewer_does_nothing(as_: SignIn, path: str) -> None:
    assert as_(Role.VIEWER).send(path, state="drain", reason="patching").status_code == 403


@pytest.mark.parametrize("path", ACTS)
def test_nothing_is_done_without_the_token(as_: SignIn, rotad: Rotad, path: str) -> None:
    operator = as_(Role.OPERATOR)
    assert operator.post(path, data={"state": "drain", "reason": "patching", "sure": "yes"}).status_code == 400
    assert rotad.double.people == []
