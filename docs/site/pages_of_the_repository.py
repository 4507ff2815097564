"""A hook of MkDocs for what reads well in the repository only: links out of docs/, and commands without a prompt."""

from __future__ import annotations

import posixpath
import re
from typing import Any

#: Files beside docs/ that the site has as pages.
PAGES = {"../CHANGELOG.md": "changelog.md", "../CONTRIBUTING.md": "contributing.md"}

#: The lexer of consoles takes lines without a prompt for output.
_COMMANDS = re.compile(r"^( *)```console(?=[^\n]*\n *[^ $])", re.M)

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>\.\./[^)\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Return a page whose links out of docs/ lead to pages of the site or are plain text, its commands coloured."""
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

    return _COMMANDS.sub(r"\1```bash", _LINK.sub(rewritten, markdown))
