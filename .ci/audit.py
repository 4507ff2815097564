"""Known vulnerabilities of what is locked: pip-audit on every lock, against OSV's database.

``audit.toml`` names those that are accepted, each with why and until when. Fails (1) where another is found, or an
acceptance is over, names what is not found any more, or says too little. Where the database cannot be reached it says
so; that is a failure with ``--strict``. Run by an interpreter that has pip-audit: ``make audit``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "deploy/requirements-web.lock", "deploy/requirements-worker.lock")
OSV = "https://api.osv.dev/v1/query"


def accepted(path: Path, today: dt.date) -> tuple[dict[str, str], list[str]]:
    """Return the reasons of what is accepted by id, and what is wrong with the file."""
    found: dict[str, str] = {}
    wrong = []
    for entry in tomllib.loads(path.read_text()).get("accepted", []):
        if entry.keys() != {"id", "reason", "until"} or not entry["reason"] or type(entry["until"]) is not dt.date:
            wrong.append(f"{path.name}: an acceptance has an id, a reason and a day until which it holds (got {entry})")
        elif entry["until"] < today:
            wrong.append(f"{path.name}: {entry['id']} was accepted until {entry['until']}: update, or decide anew")
        else:
            found[entry["id"]] = entry["reason"]
    return found, wrong


def vulnerabilities(lock: Path, url: str) -> dict[str, tuple[set[str], str]] | None:
    """Return what is known of a lock, by id: all its names, and the package; None if nobody could be asked."""
    command = [
        sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--osv-url", url, "--format", "json",
        "--progress-spinner", "off", "--require-hashes", "--disable-pip", "--requirement", str(lock),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        print(f"{lock.name}: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}", file=sys.stderr)
        return None
    if any("skip_reason" in package for package in packages):
        return None
    return {
        known["id"]: ({known["id"], *known["aliases"]}, f"{package['name']} {package['version']}")
        for package in packages
        for known in package["vulns"]
    }


def main() -> int:
    """Audit all locks, and return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--strict", action="store_true", help="fail where the database cannot be reached")
    parser.add_argument("--url", default=OSV, help="of a database that answers as OSV does")
    parser.add_argument("--accepted", type=Path, default=ROOT / ".ci/audit.toml")
    parser.add_argument("locks", nargs="*", type=Path, default=[ROOT / lock for lock in LOCKS])
    options = parser.parse_args()
    reasons, wrong = accepted(options.accepted, dt.datetime.now(dt.UTC).date())
    used: set[str] = set()
    unasked = []
    for lock in options.locks:
        known = vulnerabilities(lock, options.url)
        if known is None:
            unasked.append(lock.name)
            continue
        for identifier, (names, package) in known.items():
            if names & reasons.keys():
                used |= names & reasons.keys()
            else:
                wrong.append(f"{lock.name}: {package} has {identifier}: update it, or accept it in {options.accepted}")
    if not unasked:
        wrong += [f"{options.accepted.name}: {name} is not found any more: remove it" for name in reasons.keys() - used]
    for line in sorted(set(wrong)):
        print(f"error: {line}", file=sys.stderr)
    if unasked:
        print(f"NOT AUDITED: {', '.join(unasked)}: the database of vulnerabilities cannot be reached", file=sys.stderr)
    return 1 if wrong or (unasked and options.strict) else 0


if __name__ == "__main__":
    sys.exit(main())
