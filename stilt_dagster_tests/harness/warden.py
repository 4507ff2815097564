"""Outlives the test process by a moment, to end what that had started.

Run as a script, it is told process groups on standard input, one a line: ``+ 123`` to watch over, ``- 123`` to forget.
Input ends when the test process does, however that came about; then the groups are killed. A signal on the parent's
death would reach no grandchildren, and would be sent when the thread that started a child ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> None:
    """Watch until input ends, then kill."""
    groups: set[int] = set()
    for line in sys.stdin:
        sign, _, group = line.partition(" ")
        (groups.add if sign == "+" else groups.discard)(int(group))
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
