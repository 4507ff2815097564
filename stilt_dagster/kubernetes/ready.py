"""Whether a webserver has loaded its code locations: ``python -m stilt_dagster.kubernetes.ready --port 3000``.

The start-up probe of the chart's webserver. Dagster's ``/server_info`` answers as soon as the server listens, when no
sensor can be turned on and no run launched yet; ``/graphql`` says more, but with status 200 whatever it says.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from typing import Any

QUERY = """{ workspaceOrError {
  __typename
  ... on PythonError { message }
  ... on Workspace { locationEntries {
    name loadStatus locationOrLoadError { __typename ... on PythonError { message } }
  } }
} }"""


def missing(workspace: dict[str, Any]) -> str:
    """Return in one line what of a workspace is not loaded; empty if all of it is.

    Parameters
    ----------
    workspace : dict
        The answer to `QUERY`.
    """
    if workspace["__typename"] != "Workspace":
        return _line(f"no workspace: {workspace.get('message') or workspace['__typename']}")
    entries = workspace["locationEntries"]
    if not entries:
        return "the workspace names no code location"
    for entry in entries:
        location = entry["locationOrLoadError"] or {}
        if location.get("__typename") == "PythonError":
            return _line(f"code location {entry['name']}: {location.get('message', '')}")
        if entry["loadStatus"] != "LOADED" or location.get("__typename") != "RepositoryLocation":
            return f"code location {entry['name']} is being loaded"
    return ""


def _line(text: str) -> str:
    return " ".join(text.split())[:500]


def ask(url: str, timeout: float = 8.0) -> str:
    """Return what a webserver has not loaded; empty if nothing is missing.

    Parameters
    ----------
    url : str
        The webserver's, without a path.
    timeout : float, optional
        Seconds an answer may take.

    Raises
    ------
    OSError
        If it does not answer.
    """
    body = json.dumps({"query": QUERY}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
        found = json.load(answer)
    if "errors" in found:
        return _line(f"no workspace: {found['errors']}")
    return missing(found["data"]["workspaceOrError"])


def main(arguments: list[str] | None = None) -> int:
    """Print what is not loaded, and return 1; return 0 if nothing is missing."""
    parser = argparse.ArgumentParser(description="Say whether a Dagster webserver has loaded its code locations.")
    parser.add_argument("--port", type=int, required=True, help="where it listens on this machine")
    try:
        reason = ask(f"http://127.0.0.1:{parser.parse_args(arguments).port}")
    except OSError as error:
        reason = f"the webserver does not answer: {error}"
    if reason:
        print(reason, file=sys.stderr)
    return bool(reason)


if __name__ == "__main__":
    sys.exit(main())
