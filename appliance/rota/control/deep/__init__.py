"""Deep checks: what HAProxy cannot ask, asked at a slow pace, and answered through its agent-check."""
