"""What checks, pictures and the report of a scene take beside its simulations: a second run of the demo, step by step.

    python -m benchmarks.checks

The second run of each job finds every part done, so that what its steps take is what a run spends on looking, on
pictures and metadata, and on checks. Times are of one process that waits for nothing but its own CPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

SCENE = "demo-20230715t1830"


def step_seconds(store: Path, home: Path) -> dict[str, float]:
    """Return what each step of the three jobs takes once all is done, s."""
    os.environ |= {"STILT_STORE": str(store), "DAGSTER_HOME": str(home)}
    import dagster as dg

    from stilt_dagster.definitions import build_defs
    from stilt_dagster.partitions import scene_range

    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    found: dict[str, float] = {}
    definitions = build_defs()
    with dg.DagsterInstance.get() as instance:
        for _ in range(2):  # the first imports
            for job in ("prepare", "simulate", "assemble"):
                where = {"tags": scene_range(SCENE)} if job == "simulate" else {"partition_key": SCENE}
                done = definitions.resolve_job_def(job).execute_in_process(instance=instance, run_config=quiet, **where)
                for event in done.all_events:
                    if event.is_step_success:
                        found[str(event.step_key)] = event.step_success_data.duration_ms / 1000
    return found


def main() -> None:
    """Run the demo, and print what its steps take beside its CPU."""
    with tempfile.TemporaryDirectory() as scratch:
        store, home = Path(scratch, "store"), Path(scratch, "home")
        home.mkdir()
        environment = {**os.environ, "STILT_STORE": str(store), "DAGSTER_HOME": str(home)}
        cli = Path(sys.executable).parent / "stilt-dagster"
        told = subprocess.run([cli, "demo"], env=environment, check=True, capture_output=True, text=True).stdout
        print(next(line for line in told.splitlines() if "hycs_std" in line))
        steps = step_seconds(store, home)
    for name, seconds in steps.items():
        print(f"{name:<50} {seconds:6.2f} s")
    beside = sum(s for name, s in steps.items() if "check" in name or "_are_valid" in name or "_is_" in name)
    print(f"checks {beside:.2f} s, report {steps['report']:.2f} s")


if __name__ == "__main__":
    main()
