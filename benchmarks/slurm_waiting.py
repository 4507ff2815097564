"""What a run takes on the login node while it waits for its array job, for docs/explanation/measurements.md.

    python -m benchmarks.slurm_waiting                   1,600 receptors, four minutes
    python -m benchmarks.slurm_waiting --side 100        10,000 receptors

The run is one of the UI. Its job is in the queue of a real Slurm whose nodes take none, so that all it does is wait.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster_tests.conftest import ROOT, Project
from stilt_dagster_tests.harness.processes import wait_for
from stilt_dagster_tests.harness.slurm import Slurm
from stilt_dagster_tests.harness.webserver import Webserver
from stilt_dagster_tests.slurm.test_runs import SCENE, SHARDED, drained, on, submitted
from stilt_dagster_tests.test_ui import running_ui

#: Seconds until it asks the controller every half minute, and no more often.
SETTLED = 75


def cpu_of(pid: str) -> float:
    """Return the CPU of a process and of the children it waited for, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid: str) -> tuple[float, float]:
    """Return the memory of a process, MB: all, and its share of what it shares with others."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    rss, pss = (int(re.search(rf"^{name}:\s+(\d+)", text, re.M)[1]) / 1000 for name in ("Rss", "Pss"))
    return rss, pss


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=40, help="receptors along each side of a square")
    parser.add_argument("--seconds", type=float, default=240)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, Slurm() as slurm:
        meteorology = Path(place) / "meteorology"
        meteorology.mkdir()
        make_meteorology(meteorology, "2023-07-15T06:00", 12, (-114.0, 38.8, -110.4, 42.2), Weather(6.0, 270.0))
        project = on(slurm, Project(Path(place) / "project", meteorology))
        shutil.copy(ROOT / "deploy/slurm/dagster.yaml", project.path / "home" / "dagster.yaml")
        far = 0.5 * (args.side - 1) / args.side
        step = 0.5 / args.side
        grid = {"xmin": -112.5, "xmax": -112.5 + far, "xres": step, "ymin": 40.4, "ymax": 40.4 + far, "yres": step}
        project.cli("scene", "add", project.scene_file(receptors={"grid": grid}))
        project.cli("scene", "run", SCENE, "--assets", "receptors,meteorology_aggregate")
        with drained(slurm), running_ui(project) as ui:
            web = Webserver(ui.port)
            run = web.launch(*SHARDED, scene=SCENE)
            wait_for("a job", lambda: submitted(slurm, project), 300)
            (pid,) = re.findall(r"Started process for run \(pid: (\d+)\)", "\n".join(web.messages(run)))
            time.sleep(SETTLED)
            before, start = cpu_of(pid), time.monotonic()
            time.sleep(args.seconds)
            spent = (cpu_of(pid) - before) / (time.monotonic() - start) * 3600
            rss, pss = memory_of(pid)
            print(
                f"{args.side**2} receptors: {before:.1f} s of CPU until it waits, {spent:.1f} s an hour after; "
                f"{rss:.0f} MB, {pss:.0f} with what runs share counted once; {len(web.messages(run))} messages"
            )
            web.cancel(run)
            wait_for("the end of the run", lambda: web.run(run)["status"] == "CANCELED", 60)


if __name__ == "__main__":
    main()
