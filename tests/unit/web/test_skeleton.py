from __future__ import annotations

from rota.web.auth.people import Role
from unit.web.conftest import Browser, Rotad, SignIn


def test_health(browser: Browser, rotad: Rotad) -> None:
    assert browser.get("/healthz").status_code == 200
    assert browser.get("/readyz").status_code == 200
    rotad.stop()
    assert browser.get("/healthz").status_code == 200
    assert browser.get("/readyz").status_code == 503


def test_sign_out_needs_the_token(as_: SignIn) -> None:
    viewer = as_(Role.VIEWER)
    assert viewer.get("/password").status_code == 200
    assert viewer.post("/sign-out").status_code == 400
    assert viewer.get("/password").status_code == 200
    assert viewer.send("/sign-out").status_code == 302
    assert viewer.get("/password").status_code == 302
