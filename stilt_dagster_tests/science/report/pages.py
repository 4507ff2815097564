"""A report as a reader without scripts has it, and as a browser draws it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

#: What a browser must not be asked to fetch, by the tag that would.
_FETCHED = {"src", "srcset", "data", "poster", "background"}

#: Added to a copy of a page: counts what is drawn, in bokeh's shadow trees too, and what does not fit.
_PROBE = """<script>
function canvases(node) {
  let n = 0;
  for (const e of node.querySelectorAll("*")) {
    n += e.tagName === "CANVAS" && e.width > 0 && e.height > 0 ? 1 : 0;
    n += e.shadowRoot ? canvases(e.shadowRoot) : 0;
  }
  return n;
}
const errors = [];
addEventListener("error", e => errors.push(e.message));
addEventListener("securitypolicyviolation", e => errors.push(e.violatedDirective + " " + e.blockedURI));
setTimeout(() => {
  const plots = [...document.querySelectorAll(".plot")];
  document.title = JSON.stringify({
    width: innerWidth, plots: plots.length,
    beyond: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    drawn: plots.filter(p => canvases(p) > 0 && p.offsetHeight > 100).length, errors: errors,
  });
}, 4000);
</script>"""


@dataclass
class Page:
    """A page's text and tables.

    Attributes
    ----------
    text : str
        All that is read.
    tables : dict of str to list
        Rows of the tables that have an id, header first.
    code : dict of str to str
        The snippets.
    fetched : list of str
        Addresses a browser would fetch.
    tags : list of str
        Every tag, in its order.
    """

    text: str = ""
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self._skipped = ""
        self._table: list[list[str]] = []
        self._in_cell = False
        self._code = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        found = dict(attrs)
        self.page.tags.append(tag)
        self.page.fetched += [f"{tag} {v[:80]}" for k, v in attrs if k in _FETCHED and not v.startswith("data:image/")]
        if tag in ("link", "iframe", "object", "base") or (tag == "a" and not (found["href"] or "").startswith("#")):
            self.page.fetched.append(f"{tag} {found}")
        if tag in ("script", "style"):
            self._skipped = tag
        elif tag == "table":
            self._table = []
            if "id" in found:
                self.page.tables[found["id"]] = self._table
        elif tag == "tr":
            self._table.append([])
        elif tag in ("td", "th"):
            self._table[-1].append("")
            self._in_cell = True
        elif tag == "code" and "id" in found:
            self._code = found["id"]
            self.page.code[self._code] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False
        elif tag == "code":
            self._code = ""
        elif tag == self._skipped:
            self._skipped = ""

    def handle_data(self, data: str) -> None:
        if self._skipped == "style":
            self.page.fetched += re.findall(r"@import[^;]*|url\([^)]*\)", data)
        if self._skipped:
            return
        self.page.text += data
        if self._in_cell:
            self._table[-1][-1] += data
        if self._code:
            self.page.code[self._code] += data


def read_page(html: str) -> Page:
    """Return what a page says to a reader whose browser runs no scripts."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    reader.page.text = " ".join(reader.page.text.split())
    return reader.page


def chromium() -> str | None:
    """Return a browser, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name)) is not None), None)


def draw(html: str, width: int, directory: Path) -> dict[str, Any]:
    """Return what a browser of a width made of a page: its plots, those drawn, pixels beyond its width, errors."""
    page = directory / f"{width}.html"
    # First of all scripts, so that it hears of their errors.
    page.write_text(html.replace("<body>", f"<body>{_PROBE}", 1))
    browser = chromium()
    assert browser is not None
    # A window is not made narrower than 500 pixels, but a frame in it is.
    frame = directory / f"frame-{width}.html"
    frame.write_text(
        f'<!DOCTYPE html><title>frame</title><body style="margin: 0"><iframe src="{page.name}" width="{width}" '
        'height="6000" style="border: 0"></iframe><script>setTimeout(() => { document.title = '
        "document.querySelector('iframe').contentDocument.title; }, 6000);</script>"
    )
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--allow-file-access-from-files", f"--user-data-dir={directory / 'profile'}", "--virtual-time-budget=15000",
        "--window-size=1500,6000", "--dump-dom", frame.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title is not None, done.stderr
    return json.loads(title[1].replace("&quot;", '"').replace("&amp;", "&"))
