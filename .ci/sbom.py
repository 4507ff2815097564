"""A bill of materials of what a lock names, as CycloneDX: names, versions, licences and what needs what.

Read off an environment in which the lock is installed, and checked against CycloneDX's schema. Run by an interpreter
that has cyclonedx-bom: ``make sbom``.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from email import message_from_string
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.markers import Marker
from packaging.utils import canonicalize_name


def locked(path: Path) -> dict[str, str]:
    """Return the version of each package that a lock has installed on this machine."""
    found: dict[str, str] = {}
    for line in path.read_text().replace("\\\n", " ").splitlines():
        if match := re.match(r"([\w.-]+)==(\S+)\s*(?:;\s*([^\\]*?))?\s*(?=--hash|$)", line):
            if match[3] and not Marker(match[3].strip()).evaluate():
                continue
            found[canonicalize_name(match[1])] = match[2]
    return found


def licences_of(component: dict[str, Any], metadata: dict[str, str]) -> list[dict[str, Any]]:
    """Return a component's licences as CycloneDX writes them; as its metadata name them, where that is in no list."""
    if component.get("licenses"):
        return list(component["licenses"])
    named = (metadata.get("License") or "").strip().splitlines()
    if not named:
        raise SystemExit(
            f"error: {component['name']} names no licence: see what it may be used under, or do without it"
        )
    return [{"license": {"name": named[0]}}]


def main() -> int:
    """Write the bill, and return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("python", type=Path, help="interpreter of the environment")
    parser.add_argument("lock", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--without", nargs="*", default=[], help="what the lock has for images alone")
    options = parser.parse_args()
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", str(options.python)]
    bill = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    script = (
        "import json, importlib.metadata as m;"
        "print(json.dumps({d.name: str(d.read_text('METADATA') or '') for d in m.distributions()}))"
    )
    done = subprocess.run([options.python, "-c", script], capture_output=True, text=True, check=True)
    metadata = {canonicalize_name(name): message_from_string(text) for name, text in json.loads(done.stdout).items()}
    known = {canonicalize_name(component["name"]): component for component in bill["components"]}
    wanted = {k: v for k, v in locked(options.lock).items() if k not in options.without}
    chosen = []
    for name, version in sorted(wanted.items()):
        component = known.get(name)
        if component is None or component["version"] != version:
            here = component["version"] if component else "nothing"
            raise SystemExit(
                f"error: {options.lock.name} has {name} {version}, the environment {here}: install the lock"
            )
        component["licenses"] = licences_of(component, dict(metadata[name].items()))
        chosen.append(component)
    root = known["stilt-dagster"]
    root["type"] = "application"
    references = {component["bom-ref"] for component in (root, *chosen)}
    bill["metadata"]["component"] = root
    bill["components"] = chosen
    bill["dependencies"] = [
        {**entry, "dependsOn": [ref for ref in entry.get("dependsOn", []) if ref in references]}
        for entry in bill["dependencies"]
        if entry["ref"] in references
    ]
    text = json.dumps(bill, indent=1, sort_keys=True)
    if problem := JsonStrictValidator(SchemaVersion.from_version(bill["specVersion"])).validate_str(text):
        raise SystemExit(f"error: {options.output} would be no CycloneDX: {problem}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text + "\n")
    print(f"{options.output}: {len(chosen)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
