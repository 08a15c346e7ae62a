"""How long work tells where it is; the command line draws the bar."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with what is done, the total, and a short message."""
