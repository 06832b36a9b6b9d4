"""What holds for all tests."""

from __future__ import annotations

import signal

# A job that was started in the background ignores SIGINT, and so does every program that it starts (POSIX, `sh`, 2.11): a test
# that interrupts one would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
