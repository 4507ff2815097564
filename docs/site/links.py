"""Links of pages to files of the repository, which read well there and lead nowhere on the site: a hook of MkDocs."""

from __future__ import annotations

import posixpath
import re
from typing import Any

#: Files beside docs/ that the site has as pages.
PAGES = {"../CHANGELOG.md": "changelog.md", "../CONTRIBUTING.md": "contributing.md"}

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>\.\./[^)\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Return a page whose links out of docs/ lead to the site's own pages, or are plain text."""
    folder = posixpath.dirname(page.file.src_uri)

    def rewritten(link: re.Match[str]) -> str:
        path, _, anchor = link["target"].partition("#")
        target = posixpath.normpath(posixpath.join(folder, path))
        if not target.startswith("../"):
            return link[0]
        if target in PAGES:
            own = posixpath.relpath(PAGES[target], folder or ".")
            return f"[{link['text']}]({own}{'#' if anchor else ''}{anchor})"
        return link["text"]

    return _LINK.sub(rewritten, markdown)
