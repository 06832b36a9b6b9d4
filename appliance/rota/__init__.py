"""Rota: an open load balancer appliance that keeps medical imaging available."""

