"""The API of the running rotad: its socket and who may use it."""

from __future__ import annotations

from rota.control.access import access
from rota.control.api import Api
from rota.control.config import Config
from rota.control.core import Core


async def start(core: Core, config: Config) -> Api:
    """Answer on `rotad.sock` in the run directory."""
    api = Api(core, access())
    await api.start(config.run_directory / "rotad.sock")
    return api
