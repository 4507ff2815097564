"""Run tests, those that fail once more, and say which needed that.

    python -m stilt_dagster_tests.harness.second_tries -m "cluster and not slow"

Arguments are pytest's. What passes only at the second try fails all the same, unless ``kubernetes/second_tries.txt``
says why it may: a test that is tried again unseen is one that may be wrong each time on another machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

LIST = Path(__file__).parents[1] / "kubernetes" / "second_tries.txt"


def explained(file: Path) -> dict[str, str]:
    """Return why tests may need a second try, by their pytest id.

    Raises
    ------
    ValueError
        If a line has no explanation.
    """
    reasons = {}
    for line in file.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            test, _, reason = (part.strip() for part in line.partition(" # "))
            if not reason:
                raise ValueError(f"{file.name}: {test}: say why, after ' # '")
            reasons[test] = reason
    return reasons


def run(arguments: list[str], file: Path = LIST, cwd: Path | None = None) -> int:
    """Run tests, at most twice.

    Parameters
    ----------
    arguments : list of str
        Of pytest.
    file : Path, optional
        The tests that may need a second try, one a line, each with its explanation.
    cwd : Path, optional
        Where pytest is started.

    Returns
    -------
    int
        0 if all passed, or needed a second try and are explained; else pytest's code, 1 for those that are not.
    """
    reasons = explained(file)
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "pytest", *arguments, "-o", f"cache_dir={cache}"]
        code = subprocess.run(command, cwd=cwd, check=False).returncode
        first = _failed(Path(cache))
        if code != 1 or not first:  # passed; or interrupted, misspelt, nothing selected: no second try mends that
            print(f"second tries: none, pytest ended with code {code}", flush=True)
            return code
        print(f"second tries: {len(first)} failed, and are tried once more", flush=True)
        again = [*command, "--last-failed", "--last-failed-no-failures", "none"]
        code = subprocess.run(again, cwd=cwd, check=False).returncode
        second = _failed(Path(cache)) if code else set()
    print(f"second tries: {len(first)} failed the first time, {len(second)} of them the second time too")
    for test in sorted(first):
        print(f"  {test}: {'failed twice' if test in second else 'passed then: ' + reasons.get(test, 'NOT EXPLAINED')}")
    if code:
        return code
    unexplained = first - reasons.keys()
    if unexplained:
        print(f"error: mend what needed a second try, or say in {file.name} why it may", file=sys.stderr)
    return bool(unexplained)


def _failed(cache: Path) -> set[str]:
    """Return the ids pytest notes as failed."""
    noted = cache / "v" / "cache" / "lastfailed"
    return set(json.loads(noted.read_text())) if noted.exists() else set()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
