"""What must hold of a release: its tag, version and section of the changelog are one, its files hold the package alone.

::

    release.py check v0.2.0     the tag
    release.py notes            the version's section of the changelog, for the release's page
    release.py dist DIRECTORY   the wheel and the source distribution that are there
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: Of a source distribution, beside the package: what it is built of, and what setuptools writes.
_SOURCES = {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg", "setup.py"}


def version() -> str:
    """Return the version of the source."""
    [found] = re.findall(r'^__version__ = "(.+)"$', (ROOT / "stilt_dagster/__init__.py").read_text(), re.MULTILINE)
    return str(found)


def notes() -> str:
    """Return what the changelog says of the version; empty if it has no section of it."""
    text = (ROOT / "CHANGELOG.md").read_text()
    found = re.search(rf"^## \[{re.escape(version())}\][^\n]*\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return "" if found is None else found[1].strip() + "\n"


def check(tag: str) -> list[str]:
    """Return what is wrong with a tag."""
    wrong = [] if tag == f"v{version()}" else [f"the tag is {tag}, the version {version()}: make them one"]
    if not notes():
        wrong.append(f"CHANGELOG.md has no section [{version()}]: give what is under Unreleased that name and a date")
    return wrong


def tracked() -> set[str]:
    """Return the files of the package, as git knows them."""
    command = ["git", "ls-files", "-z", "stilt_dagster"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.split("\0") if name}


def check_dist(directory: Path) -> list[str]:
    """Return what is wrong with the files of a release."""
    base = f"stilt_dagster-{version()}"
    names = sorted(p.name for p in directory.iterdir())
    wheel, source = f"{base}-py3-none-any.whl", f"{base}.tar.gz"
    if names != [wheel, source]:
        return [f"{directory} holds {', '.join(names) or 'nothing'}, not {wheel} and {source}"]
    package = tracked()
    with zipfile.ZipFile(directory / wheel) as archive:
        held = {name for name in archive.namelist() if not name.startswith(f"{base}.dist-info/")}
        wrong = [f"{wheel} lacks {name}" for name in sorted(package - held)]
        wrong += [f"{wheel} holds {name}, which is none of the package" for name in sorted(held - package)]
        about = message_from_string(archive.read(f"{base}.dist-info/METADATA").decode())
        if about["Version"] != version() or not about.get_all("Requires-Dist"):
            wrong.append(f"{wheel} says it is {about['Version']}, and needs {about.get_all('Requires-Dist')}")
        if "stilt-dagster = stilt_dagster.cli:main" not in archive.read(f"{base}.dist-info/entry_points.txt").decode():
            wrong.append(f"{wheel} has no command stilt-dagster")
    with tarfile.open(directory / source) as archive:
        held = {m.name.removeprefix(f"{base}/") for m in archive.getmembers() if m.isfile()}
    wrong += [f"{source} lacks {name}" for name in sorted((package | _SOURCES) - held)]
    others = {name for name in held - package - _SOURCES if not name.startswith("stilt_dagster.egg-info/")}
    return wrong + [f"{source} holds {name}, which is none of the package" for name in sorted(others)]


def main(arguments: list[str]) -> int:
    """Do what the command line asks; return the exit code."""
    match arguments:
        case ["notes"]:
            sys.stdout.write(notes())
            return 0
        case ["check", tag]:
            wrong = check(tag)
        case ["dist", directory]:
            wrong = check_dist(Path(directory))
        case _:
            wrong = [f"cannot do {' '.join(arguments) or 'nothing'}: check TAG, notes, or dist DIRECTORY"]
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    return 2 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
