"""Scenes as array jobs of a real Slurm: what is submitted, what comes of it, and what kills do to it."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path

import h5netcdf
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilt_dagster.science.costs.sizes import Load, size_of
from stilt_dagster.science.errors import UserError
from stilt_dagster.science.scenes.receptors import SHARDS
from stilt_dagster.slurm import scheduler
from stilt_dagster.slurm.array_job import MARGIN, array_script, assembling_script, plan_array
from stilt_dagster.slurm.site import Site, read_site
from stilt_dagster_tests.conftest import ROOT, Project
from stilt_dagster_tests.harness.processes import wait_for
from stilt_dagster_tests.harness.slurm import Slurm
from stilt_dagster_tests.slurm import kills

SCENE = "valley-20230715t0920"
PREPARED = ("scene", "run", SCENE, "--assets", "receptors,meteorology_aggregate")

counts = st.dictionaries(st.sampled_from(SHARDS), st.integers(0, 5000), min_size=16, max_size=16).filter(
    lambda found: sum(found.values()) > 0
)


def jacobian(project: Project) -> dict[str, np.ndarray]:
    with h5netcdf.File(project.store / "jacobian" / f"{SCENE}.nc", "r") as file:
        return {name: v[...] for name, v in file.variables.items()}


def particles(project: Project) -> dict[str, object]:
    root = project.store / "trajectories"
    return {str(path.relative_to(root)): pq.read_table(path) for path in sorted(root.rglob("part-*"))}


def drained(slurm: Slurm) -> None:
    """Wait until nothing is queued or running; time begins anew whenever anything changes."""

    def states() -> str:
        return slurm.run("squeue", "--noheader", "--array", "--format=%i %T %r")

    wait_for("the end of all jobs", lambda: not states(), 600, every=0.5, progress=states)


@given(counts, st.floats(1, 1e7), st.integers(1, 64), st.integers(1, 16))
def test_every_shard_is_done_once_by_tasks_of_the_size_that_was_planned(
    receptors: dict[str, int], cpu: float, cpus: int, tasks: int
) -> None:
    load = Load(receptors=sum(receptors.values()), cpu_seconds=cpu)
    for asked in (0, tasks):
        site = Site(cpus=cpus, time_limit=240)
        job = plan_array("a", "stilt-a", load, receptors, SHARDS, site, asked)
        assert [shard for part in job.tasks for shard in part] == list(SHARDS)
        assert len(job.tasks) == asked or not asked
        assert 1 <= job.request.cpus <= cpus
        share = max(sum(receptors[shard] for shard in part) for part in job.tasks) / load.receptors
        assert job.request.seconds >= min(MARGIN * cpu * share / job.request.cpus, 240 * 3600)
        assert job.request.memory >= size_of("trajectories", load, share, most=job.request.cpus).memory
        text = array_script(job, site, Path("/logs"), "/store", {})
        assert f"#SBATCH --array=0-{len(job.tasks) - 1}\n" in text


def test_scripts_hold_what_the_site_sets_and_are_clean(tmp_path: Path) -> None:
    site = read_site(ROOT / "deploy/slurm/slurm.yaml")
    site = site.model_copy(
        update={"partition": "spot", "setup": ["module load gcc/12"], "image": "/images/a b.sif", "scratch": "/scratch"}
    )
    job = plan_array("a", "stilt-a", Load(), dict.fromkeys(SHARDS, 7), SHARDS, site, 3)
    scripts = [write(job, site, tmp_path, "/it's a store", {}) for write in (array_script, assembling_script)]
    for number, text in enumerate(scripts):
        for line in ("#SBATCH --partition=spot", "#SBATCH --requeue", "module load gcc/12", "export TMPDIR=/scratch"):
            assert line in text.splitlines()
        assert "apptainer exec --bind '/it'\"'\"'s a store' --bind /scratch '/images/a b.sif' stilt-dagster" in text
        (tmp_path / f"{number}.sh").write_text(text)
        command = [shutil.which("shellcheck", path=str(ROOT / ".venv/bin")) or "bash", str(tmp_path / f"{number}.sh")]
        checked = subprocess.run(command if "shellcheck" in command[0] else ["bash", "-n", command[1]], check=False)
        assert checked.returncode == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partitions: a", "unknown name; did you mean partition"),
        ("partition: 'a b'", "partition"),
        ("options: [--wrap=rm]", "--wrap follows from the scene"),
        ('options: ["--exclude=a\\nrm -r /"]', "one line of printable characters"),
        ('setup: ["a\\nb"]', "one line of printable characters"),
        ("image: ../a.sif", "absolute path"),
        ("requeues: -1", "requeues"),
        ("time_limit: forever", "hours"),
        ("- a", "must hold what a site sets"),
        ("cpus: yes", "must be a number"),
    ],
)
def test_a_sites_file_that_cannot_be_used_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "slurm.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=said) as error:
        read_site(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_what_cannot_be_submitted_is_one_line(project: Project, slurm: Slurm, tmp_path: Path) -> None:
    project.cli("scene", "add", project.scene_file())
    assert f"scene run {SCENE} --assets receptors,meteorology_aggregate" in project.error("slurm", SCENE)
    project.cli(*PREPARED)
    assert "--tasks must be at most 4" in project.error("slurm", SCENE, "--shards", "00-03", "--tasks", "5")
    assert "none.yaml" in project.error("slurm", SCENE, "--config", "none.yaml")
    assert "is not on PATH: run this where" in project.error("slurm", SCENE, "--submit", PATH=str(tmp_path))
    (project.path / "site.yaml").write_text("partition: none")
    said = project.error("slurm", SCENE, "--submit", STILT_SLURM=str(project.path / "site.yaml"), **slurm.environment)
    assert "invalid partition specified: none" in said
    assert "parts" not in project.cli("scene", "work", SCENE, "--assets", "jacobian", code=2).stdout
    assert not list(project.path.glob("*.sbatch"))


def test_an_array_of_four_makes_the_matrix_of_one_process(project: Project, slurm: Slurm, finished: Project) -> None:
    project.cli("scene", "add", project.scene_file())
    project.cli(*PREPARED)
    submit = ("slurm", SCENE, "--tasks", "4", "--submit", "--output", project.path / "logs", "--json")
    made = json.loads(project.cli(*submit, **slurm.environment).stdout)
    assert (made["tasks"], len(made["jobs"])) == (4, 2)
    assert "is queued or running already" in project.error(*submit, **slurm.environment)
    drained(slurm)
    expected, found = jacobian(finished), jacobian(project)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], values) for name, values in expected.items())
    assert {name: asset["state"] for name, asset in project.status(SCENE)["assets"].items()} == dict.fromkeys(
        ("receptors", "meteorology_aggregate", "trajectories", "footprints", "jacobian", "report"), "ready"
    )
    before = (project.store / "jacobian" / f"{SCENE}.nc").stat().st_mtime_ns
    recorded = project.cli("scene", "run", SCENE).stderr
    assert "assemble: jacobian, report done" in recorded
    assert (project.store / "jacobian" / f"{SCENE}.nc").stat().st_mtime_ns == before, "taken over, not made again"
    assert project.cli("scene", "run", SCENE).stderr.count("nothing to do") == 3


@pytest.mark.slow
def test_tasks_that_are_killed_preempted_requeued_and_cancelled_lose_and_double_nothing(
    project: Project, slurm: Slurm, finished: Project
) -> None:
    project.cli("scene", "add", project.scene_file())
    project.cli(*PREPARED)
    submit = ("slurm", SCENE, "--tasks", "2", "--submit", "--output", project.path / "logs", "--json")
    rng = random.Random(20230715)
    name = ""

    def disturbed(kind: str) -> bool:
        """Do it to a task; where all have ended before it could be done, let them begin from nothing."""
        nonlocal name
        if not name or not slurm.run("squeue", "--noheader", f"--name={name}"):
            for asset in ("trajectories", "footprints"):
                shutil.rmtree(project.store / asset, ignore_errors=True)
            job = json.loads(project.cli(*submit, **slurm.environment).stdout)["jobs"][0]
            name = slurm.run("squeue", "--noheader", f"--jobs={job}", "--format=%j").splitlines()[0]
        return kills.disturb(slurm, name, kind, rng)

    for kind in kills.KINDS:
        wait_for(
            f"a task to {kind}", lambda kind=kind: disturbed(kind), 120, every=0.2,
            progress=lambda: slurm.run("squeue", "--noheader", "--array", "--format=%i %T"),
        )  # fmt: skip
    drained(slurm)
    # What was cancelled stays so until a person submits it again.
    project.cli(*submit, **slurm.environment)
    drained(slurm)
    expected, found = jacobian(finished), jacobian(project)
    assert all(np.array_equal(found[key], values) for key, values in expected.items())
    ours, theirs = particles(project), particles(finished)
    assert ours.keys() == theirs.keys(), "no part is lost or left over"
    assert all(ours[part].equals(table) for part, table in theirs.items())


@pytest.mark.slow
def test_a_task_that_reaches_its_time_limit_too_often_is_given_up_and_what_it_finished_is_kept(
    project: Project, slurm: Slurm
) -> None:
    project.cli("scene", "add", project.scene_file(transport={"n_hours": -3, "numpar": 1200}))
    project.cli(*PREPARED)
    scripts = json.loads(project.cli("slurm", SCENE, "--tasks", "1", "--json").stdout)["scripts"]
    text = Path(scripts[0]).read_text()
    # A limit that is over before much is done.
    lines = [line for line in text.splitlines() if not line.startswith(("#SBATCH --time", "#SBATCH --signal"))]
    lines.insert(1, "#SBATCH --time=1\n#SBATCH --signal=TERM@50")
    Path(scripts[0]).write_text("\n".join(lines).replace("-gt 10 ", "-gt 0 ") + "\n")
    job = slurm.run("sbatch", "--parsable", f"--chdir={project.path}", scripts[0])
    drained(slurm)
    log = (project.path / f"stilt-{SCENE}-{job}_0.log").read_text()
    assert log.count("goes back into the queue") == 1
    assert "requeued 1 times and not done" in log
    assert "Traceback" not in log
    assert [task.state for task in scheduler.tasks(job)] == ["FAILED"]
    # With time enough it goes on from there.
    project.cli("slurm", SCENE, "--tasks", "1", "--submit", **slurm.environment)
    drained(slurm)
    assert project.status(SCENE)["pending"] == 0
