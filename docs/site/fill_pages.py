"""Fill the site's pages with what is made from the code: a script of mkdocs-gen-files.

A page says ``<!-- generated: NAME -->`` where ``SECTIONS`` has that name; in the repository it reads well without.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import mkdocs_gen_files

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from generate import SECTIONS  # noqa: E402 - it lies beside this script
from stilt_dagster.operations.registration.schema import scene_schema  # noqa: E402

_MARK = re.compile(r"<!-- generated: (?P<name>[a-z -]+) -->")


def fill(page: Path) -> None:
    """Write a page with its marks replaced."""
    text = page.read_text()
    if _MARK.search(text):
        with mkdocs_gen_files.open(page.relative_to(ROOT / "docs").as_posix(), "w") as out:
            out.write(_MARK.sub(lambda mark: SECTIONS[mark["name"]](), text))


def copy(name: str, to: str) -> None:
    """Write a page of a file that lies beside docs/."""
    with mkdocs_gen_files.open(to, "w") as out:
        out.write((ROOT / name).read_text().replace("](docs/", "]("))


for page in sorted((ROOT / "docs").rglob("*.md")):
    if HERE not in page.parents:
        fill(page)
copy("CHANGELOG.md", "changelog.md")
copy("CONTRIBUTING.md", "contributing.md")
with mkdocs_gen_files.open("schemas/scene.json", "w") as out:
    json.dump(scene_schema(), out, indent=1)
