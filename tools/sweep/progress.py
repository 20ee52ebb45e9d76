"""A progress bar on stderr, on a terminal only."""

from __future__ import annotations

import os
import sys
import time
from typing import TextIO

_WIDTH = 24


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class ProgressBar:
    """Of `total` runs, `before` were done when the sweep began; only later ones tell how long one
    takes. Every method is called from one thread."""

    def __init__(self, total: int, before: int, stream: TextIO = sys.stderr) -> None:
        self._total, self._before, self._done, self._errors = total, before, before, 0
        self._stream, self._start = stream, time.monotonic()
        self._shown = stream.isatty()

    def running(self, what: str) -> None:
        """Shows what runs now."""
        if not self._shown:
            return
        filled = _WIDTH * self._done // max(self._total, 1)
        bar = "━" * filled + "─" * (_WIDTH - filled)
        facts = [f"{self._done} of {self._total}"]
        if self._errors:
            facts.append(f"{self._errors} failed")
        if self._done > self._before:
            each = (time.monotonic() - self._start) / (self._done - self._before)
            facts.append(f"{_span(each * (self._total - self._done))} left")
        line = f"{bar} {', '.join(facts)}: {what}"
        self._stream.write("\r\033[K" + line[: self._columns() - 1])
        self._stream.flush()

    def finished(self, failed: bool) -> None:
        self._done += 1
        self._errors += failed

    def clear(self) -> None:
        if self._shown:
            self._stream.write("\r\033[K")
            self._stream.flush()

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except OSError:
            return 80
