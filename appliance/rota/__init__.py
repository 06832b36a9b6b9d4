"""Rota: an open load balancer appliance that keeps medical imaging available."""

__version__ = "0.1.0"
