"""Pages of the documentation, and the fenced blocks in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stilt_dagster_tests.conftest import ROOT

DOCS = ROOT / "docs"

#: The site's own scripts and settings lie beside the pages.
PAGES = sorted(p for p in DOCS.rglob("*.md") if "site" not in p.relative_to(DOCS).parts)

#: A fence, with what its first line says, and the comment before it that says why it is not run.
_FENCE = re.compile(
    r"^(?: *<!-- not run: (?P<reason>[^\n]+?) -->\n+)?"
    r"^(?P<indent> *)```(?P<kind>[a-z]*)(?: title=\"(?P<title>[^\"]+)\")?[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes
    ----------
    page, line : Path, int
        Where it is; the line of its first text.
    kind : str
        ``console``, ``python``, ``yaml``, ``text``, ...
    title : str
        The file it is written to; empty for none.
    reason : str
        Why it is not run; empty where it is.
    text : str
        What it holds.
    """

    page: Path
    line: int
    kind: str
    title: str
    reason: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page."""
    whole = page.read_text()
    for found in _FENCE.finditer(whole):
        line = whole.count("\n", 0, found.start("text")) + 1
        fields = {name: found[name] or "" for name in ("kind", "title", "reason")}
        text = re.sub(f"^{found['indent']}", "", found["text"], flags=re.M)
        yield Block(page, line, text=text, **fields)
