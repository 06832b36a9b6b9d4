"""From the service model to what keepalived on one node needs."""

from rota.keepalived.view import KeepalivedView, Section, view

__all__ = ["KeepalivedView", "Section", "view"]
