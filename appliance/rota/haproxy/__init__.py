"""From the service model to what HAProxy on one node needs."""

from rota.haproxy.section import HaproxyView, NeededFile, Section
from rota.haproxy.view import view

__all__ = ["HaproxyView", "NeededFile", "Section", "view"]
