"""What records of runs take in SQLite and in Postgres: ``python -m benchmarks.records``.

Writers, each a process as a run is, record events of an asset as fast as they can, while the list of runs is read as
the UI reads it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dagster as dg
import yaml

from stilt_dagster_tests.conftest import ROOT
from stilt_dagster_tests.harness.postgres import Postgres

#: Seconds each is measured.
_SECONDS = 15

#: Records materializations of scenes of its own until the time is over, and prints how many, and how many were refused.
_WRITER = """
import sys, time
import dagster as dg

refused = rows = 0
with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    end = time.monotonic() + float(sys.argv[3])
    while time.monotonic() < end:
        try:
            event = dg.AssetMaterialization("jacobian", partition=f"{sys.argv[2]}-{rows}", metadata={"n": rows})
            instance.report_runless_asset_event(event)
            rows += 1
        except Exception as error:
            refused += 1
            print(error, file=sys.stderr)
print(rows, refused)
"""


def measure(home: Path, writers: int) -> dict[str, object]:
    """Return events a second, how many were refused, and how long the reader waited, seconds."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("jacobian", partition="first"))  # makes the tables
        command = [sys.executable, "-W", "ignore", "-c", _WRITER, str(home)]
        started = [
            subprocess.Popen([*command, str(n), str(_SECONDS)], stdout=subprocess.PIPE, text=True)
            for n in range(writers)
        ]
        waits = []
        while any(process.poll() is None for process in started):
            start = time.monotonic()
            instance.get_latest_materialization_event(dg.AssetKey("jacobian"))
            instance.get_run_records(limit=25)
            waits.append(time.monotonic() - start)
            time.sleep(0.5)
    told = [list(map(int, process.communicate()[0].split())) for process in started]
    rows, refused = (sum(column) for column in zip(*told, strict=True))
    waits.sort()
    return {
        "writers": writers,
        "events_per_second": round(rows / _SECONDS),
        "refused": refused,
        "reader_median_s": round(waits[len(waits) // 2], 3),
        "reader_longest_s": round(waits[-1], 3),
    }


def main() -> None:
    """Print a line of JSON for each storage and number of writers."""
    settings = yaml.safe_load((ROOT / "deploy" / "server" / "dagster.yaml").read_text())
    with tempfile.TemporaryDirectory() as directory, Postgres() as postgres:
        os.environ.update(postgres.env)
        for kind in ("sqlite", "postgres"):
            home = Path(directory) / kind
            home.mkdir()
            kept = {k: v for k, v in settings.items() if k != "storage" or kind == "postgres"}
            (home / "dagster.yaml").write_text(yaml.safe_dump(kept))
            for writers in (1, 2, 4, 8):
                print(json.dumps({"storage": kind, **measure(home, writers)}), flush=True)


if __name__ == "__main__":
    main()
