"""The command's fixtures, for `rota report`."""

from unit.commands.conftest import rotad, run

__all__ = ["rotad", "run"]
