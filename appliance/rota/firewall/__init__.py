"""From the service model to the packet filter of one node."""

from rota.firewall.section import FirewallView, Section
from rota.firewall.view import MANAGEMENT_PORTS, view

__all__ = ["MANAGEMENT_PORTS", "FirewallView", "Section", "view"]
