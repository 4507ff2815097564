"""A newcomer's path: the tutorial's commands and snippets, timed step by step; prints the table of measurements.md.

    python -m benchmarks.tutorial

Times are of this machine, as idle as it is. Installing is not among them: ``time make install`` on a clean clone.
"""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path

import pytest

from stilt_dagster_tests.docs.pages import DOCS, blocks
from stilt_dagster_tests.docs.workbook import Workbook

PAGE = DOCS / "tutorial/granule-to-flux.md"


def main() -> None:
    """Run the page and print the seconds of each of its sections."""
    headings = {
        PAGE.read_text().count("\n", 0, found.start()) + 1: found[1]
        for found in re.finditer(r"^## (.+)$", PAGE.read_text(), re.M)
    }
    seconds = dict.fromkeys(headings.values(), 0.0)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as changes:
        workbook = Workbook(Path(folder), changes)
        for block in blocks(PAGE):
            if block.reason:
                continue
            start = time.monotonic()
            workbook.run(block)
            section = headings[max(line for line in headings if line < block.line)]
            seconds[section] += time.monotonic() - start
    passed = 0.0
    print("| step | s | since the start, s |\n|---|---|---|")
    for section, spent in seconds.items():
        if spent:
            passed += spent
            print(f"| {section} | {spent:.1f} | {passed:.1f} |")


if __name__ == "__main__":
    main()
