"""Measurements of Rota, side by side with what it is compared to."""
