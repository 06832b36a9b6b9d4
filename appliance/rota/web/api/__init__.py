"""The API for scripts, at /api/v1: what rotad offers, with a person behind each request."""
