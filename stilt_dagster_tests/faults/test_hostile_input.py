"""Input made to harm: refused in one line, within bounded memory and time; no file shows what is not its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from netCDF4 import Dataset

from stilt_dagster.cli import main
from stilt_dagster.retrievals import read_granule
from stilt_dagster.science.errors import SceneError, UserError
from stilt_dagster.science.jacobian.concatenate import concatenate
from stilt_dagster.science.observations.background import open_field
from stilt_dagster.science.observations.flux_field import open_flux
from stilt_dagster.science.scenes.loading import parse_scene
from stilt_dagster.science.scenes.observation_settings import Background, FluxSource
from stilt_dagster.science.scenes.receptors import MAX_RECEPTORS
from stilt_dagster.science.scenes.spec import SCENE_ID
from stilt_dagster.science.validation import parse_yaml
from stilt_dagster_tests.conftest import ROOT, SCENE, Project, deep_merge

#: Runs what it is given with 4 GiB of address space and a minute of CPU.
BOUNDED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from stilt_dagster.cli import main
sys.argv = ["stilt-dagster", *sys.argv[1:]]
main()
"""


Refused = Callable[..., str]


def only_line(text: str) -> str:
    [line] = text.strip().splitlines()
    assert line.startswith("error: ")
    assert line.isprintable(), "nothing that moves a terminal's cursor"
    return line


@pytest.fixture
def refused(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command in this process, and return the one line it is refused with."""
    for name in ("STILT_STORE", "DAGSTER_HOME", "COLUMNS"):
        monkeypatch.setenv(name, project.env[name])
    monkeypatch.chdir(project.path)

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["stilt-dagster", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2
        return only_line(capsys.readouterr().err)

    return run


def refused_in_bounds(project: Project, *arguments: object) -> str:
    """Run a command in a process of bounded memory and time, and return the one line it is refused with."""
    env = {**project.env, "OPENBLAS_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1"}
    command = [sys.executable, "-c", BOUNDED, *map(str, arguments)]
    done = subprocess.run(command, env=env, cwd=project.path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr[-1000:]
    return only_line(done.stderr)


# -- YAML ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]", "aliases"),
        ("a: " + "[" * 100_000, "recursion"),
        ("\n".join(" " * k + "a:" for k in range(3000)), "recursion"),
        ("a: !!python/object/apply:os.system [ls]", "python/object"),
        ("a: " + "9" * 5000, "digits"),
        ("a: 1\na: 2", "given twice"),
        ("a: \x00", "special characters"),
        ("? [a, b]\n: 1", "is not a name"),
    ],
    ids=["laughs", "depth", "depth of names", "object", "number", "doubled", "nul", "list as a name"],
)  # fmt: skip
def test_yaml_that_is_no_data(project: Project, refused: Refused, text: str, says: str) -> None:
    (project.path / "scene.yaml").write_text(text)
    assert says in refused("scene", "add", "scene.yaml")


def test_yaml_of_many_names_is_read_in_a_moment() -> None:
    names = {f"k{k}": k for k in range(20_000)}
    assert parse_yaml(yaml.safe_dump(names), "x", "names", SceneError) == names


def test_a_file_too_large_to_be_a_spec(project: Project, refused: Refused) -> None:
    with (project.path / "scene.yaml").open("wb") as file:
        file.truncate(10**10)
    assert "larger than 64 MiB" in refused("scene", "add", "scene.yaml")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"receptors": {"grid": {"xres": 1e-9}}}, "receptors.grid: makes"),
        ({"footprint": {"xres": 1e-9, "yres": 1e-9}}, "footprint: has"),
        ({"transport": {"n_hours": -(10**9)}}, "n_hours: must be between"),
        ({"transport": {"numpar": 10**12}}, "numpar must be between"),
        ({"transport": {"exe_dir": "/tmp"}}, "exe_dir names files of the machine"),
        ({"transport": {"efile": "../../x"}}, "plain file name"),
        ({"meteorology": {"pattern": "../../*"}}, "must be a file name"),
        ({"meteorology": {"directory": "http://169.254.169.254/computeMetadata/v1"}}, "must be a path, or begin with gs://"),
        ({"background": {"uri": "http://10.0.0.1/x", "variable": "x"}}, "must be a path, or begin with gs://"),
        ({"background": {"uri": "ftp://a/b", "variable": "x"}}, "must be a path, or begin with gs://"),
        ({"tags": {"dagster-k8s/config": "{}"}}, "unknown run tag"),
        ({"id": "../../x"}, "must start with a letter or digit"),
        ({"id": "\x1b[31mx"}, "must start with a letter or digit"),
        ({"id": "x\nerror: y"}, "must start with a letter or digit"),
        ({"\x1b[2Jx": 1}, "unknown name"),
    ],
)  # fmt: skip
def test_specs_that_ask_for_too_much(project: Project, refused: Refused, changes: dict, says: str) -> None:
    assert says in refused("scene", "add", project.scene_file(**changes))
    assert not (project.store / "scenes").exists()


@given(st.text(max_size=120))
def test_an_id_is_a_name_of_one_file_and_nothing_else(text: str) -> None:
    spec = deep_merge(SCENE, {"meteorology": {"directory": "/met"}, "id": text})
    try:
        scene = parse_scene(spec, "x", None, "x")
    except UserError:
        assert not SCENE_ID.fullmatch(text)
        return
    assert scene.id == text
    assert os.path.normpath(f"/store/{text}.json") == f"/store/{text}.json"
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")


@pytest.mark.parametrize("command", [("scene", "show"), ("scene", "run"), ("scene", "status"), ("jacobian", "concat")])
@pytest.mark.parametrize("scene", ["../../../etc/passwd", "/etc/passwd", "a%2f..%2fb", "..", "x\x1b[31m"])
def test_ids_of_commands_lead_nowhere(project: Project, refused: Refused, command: tuple[str, ...], scene: str) -> None:
    (project.store / "scenes").mkdir(parents=True)
    more = ("-o", "all.nc") if command[0] == "jacobian" else ()
    line = refused(*command, scene, *more)
    assert "root:" not in line
    assert sorted(p.name for p in project.path.iterdir()) == ["home", "store"]


# -- receptors -----------------------------------------------------------------------------------------------------


def test_a_small_file_of_a_billion_receptors(project: Project) -> None:
    column = pa.array(np.full(2**20, -112.0))
    table = pa.table({"longitude": column, "latitude": column})
    with pq.ParquetWriter(project.path / "points.parquet", table.schema, compression="zstd") as writer:
        for _ in range(100):
            writer.write_table(table)
    file = project.scene_file(receptors={"grid": None, "file": "points.parquet"})
    assert f"more than the {MAX_RECEPTORS} receptors" in refused_in_bounds(project, "scene", "add", file)


def test_a_table_of_more_receptors_than_a_scene_has(project: Project) -> None:
    with (project.path / "points.csv").open("w") as file:
        file.write("longitude,latitude\n" + "-112,40\n" * (MAX_RECEPTORS + 10))
    file = project.scene_file(receptors={"grid": None, "file": "points.csv"})
    assert f"more than the {MAX_RECEPTORS} receptors" in refused_in_bounds(project, "scene", "add", file)


# -- NetCDF ---------------------------------------------------------------------------------------------------------

TABLE = {
    "longitude": "lon", "latitude": "lat", "time": "time", "value": "value", "averaging_kernel": "ak", "prior": "prior",
    "surface_pressure": "psurf", "pressure": "p", "units": {"value": "ppm", "prior": "ppm", "surface_pressure": "hPa"},
    "constants": {"uncertainty": 0.01},
}  # fmt: skip


def write(path: Path, soundings: int = 3) -> None:
    """Write a granule of a product of its own."""
    with Dataset(path, "w") as file:
        for dim, size in (("n", soundings), ("level", 4)):
            file.createDimension(dim, size)
        for name, value in (("lon", -112.0), ("lat", 40.0), ("time", 0.0), ("value", 1.9), ("psurf", 900.0)):
            file.createVariable(name, "f8", ("n",))[:] = np.full(soundings, value)
        file["time"].units = "seconds since 2023-07-15"
        for name, value in (("ak", [1.0] * 4), ("prior", [1.8] * 4), ("p", [900.0, 700.0, 400.0, 100.0])):
            file.createVariable(name, "f8", ("n", "level"))[:] = np.tile(value, (soundings, 1))
        file["p"].units = "hPa"


def external_link(path: Path, secret: Path) -> None:
    with h5py.File(secret, "w") as file:
        file["x"] = np.full(3, 7.0)
    with h5py.File(path, "a") as file:
        del file["value"]
        file["value"] = h5py.ExternalLink(str(secret), "/x")


def external_storage(path: Path, secret: Path) -> None:
    secret.write_bytes(b"password-of-24-characters")
    with h5py.File(path, "a") as file:
        del file["value"]
        made = file.create_dataset("value", (3,), "f8", external=[(str(secret), 0, 24)])
        made.dims[0].attach_scale(file["n"])


def virtual_dataset(path: Path, secret: Path) -> None:
    with h5py.File(secret, "w") as file:
        file["x"] = np.full(3, 7.0)
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "x", (3,))
    with h5py.File(path, "a") as file:
        del file["value"]
        file.create_virtual_dataset("value", layout).dims[0].attach_scale(file["n"])


THEFTS = [external_link, external_storage, virtual_dataset]


@pytest.mark.parametrize("steal", THEFTS)
@pytest.mark.parametrize("read", ["granule", "background", "fluxes", "jacobian"])
def test_no_file_shows_what_is_in_another(tmp_path: Path, steal: Callable[[Path, Path], None], read: str) -> None:
    """The libraries would: a token or a password of this process could come out as a column of a result."""
    path = tmp_path / "file.nc"
    write(path)
    assert read_granule(path, "netcdf", mapping=TABLE).soundings.value.tolist() == [1.9] * 3
    steal(path, tmp_path / "secret")
    with Dataset(path) as file:
        assert file["value"][:].shape == (3,), "they do"
    now = pd.Timestamp("2023-07-15")
    readers = {
        "granule": lambda: read_granule(path, "netcdf", mapping=TABLE),
        "background": lambda: open_field(path, Background(uri="file.nc", variable="value"), now, now),
        "fluxes": lambda: open_flux(path, FluxSource(uri="file.nc", variable="value"), now, now),
        "jacobian": lambda: concatenate([path, path], tmp_path / "all.nc"),
    }
    with pytest.raises(UserError, match=r"file.nc is not read: 'value' (is|has)"):
        readers[read]()
    assert not (tmp_path / "all.nc").exists()


def test_a_hidden_link_is_found_in_any_group(tmp_path: Path) -> None:
    path = tmp_path / "file.nc"
    write(path)
    with h5py.File(path, "a") as file:
        deep = file.create_group("a/b/c")
        deep["up"] = file["a"]  # a circle
        deep["out"] = h5py.ExternalLink("/etc/passwd", "/x")
    with pytest.raises(UserError, match=r"'a/b/c/(up/b/c/)?out' is a link into another file"):
        read_granule(path, "netcdf", mapping=TABLE)


@pytest.mark.parametrize("dims", [{"n": 10**11}, {"n": 3, "level": 10**11}])
def test_a_small_file_that_says_it_is_large(project: Project, dims: dict[str, int]) -> None:
    path = project.path / "large.nc"
    write(path)
    with Dataset(path, "a") as file:
        for name, size in dims.items():
            file.createDimension(f"{name}_2", size)
        shape = tuple(f"{name}_2" for name in dims)
        file.createVariable("huge", "f8", shape, chunksizes=(1,) * len(shape))
    retrieval = {"product": "netcdf", "uri": str(path), "mapping": {**TABLE, "value": "huge"}}
    scene = project.scene_file(time=None, receptors={"grid": None, "retrieval": retrieval})
    assert "large.nc" in refused_in_bounds(project, "scene", "add", scene)
    assert path.stat().st_size < 10**6


# -- what is printed ------------------------------------------------------------------------------------------------


def test_credentials_in_a_url_are_not_repeated(project: Project) -> None:
    env = {**project.env, "STILT_STORE": "s3://key:hunter2-secret@bucket/store"}
    done = subprocess.run(
        project.command("scene", "list"), env=env, cwd=project.path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "without credentials" in only_line(done.stderr)
    assert "hunter2-secret" not in done.stdout + done.stderr


def test_a_spec_under_another_name_is_not_taken_for_it(finished: Project, tmp_path: Path) -> None:
    """A file put in the store by hand: what it says it is, is not what it is called."""
    [spec] = [p for p in (finished.store / "scenes").iterdir() if p.suffix == ".json"]
    store = tmp_path / "store"
    (store / "scenes").mkdir(parents=True)
    (store / "scenes" / "other-20230715t0920.json").write_text(spec.read_text())
    command = finished.command("scene", "status", "other-20230715t0920", "--json")
    env = {**finished.env, "STILT_STORE": str(store)}
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        assert json.loads(done.stdout)["scene"] == "other-20230715t0920"
    else:
        assert done.stderr.startswith("error: ")


# -- places that a spec names ----------------------------------------------------------------------------------------


def test_http_places_are_for_hosts_the_operator_trusts(
    project: Project, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the scene nor a redirect decides; what is private stays refused for every other host."""
    scene = project.scene_file(meteorology={"directory": "http://met.example:8000/hrrr"})
    for trusted in ("", "met.example:80", "example", "notmet.example"):
        monkeypatch.setenv("STILT_TRUSTED_HOSTS", trusted)
        assert "must be a path, or begin with gs://" in refused("scene", "add", scene)
    for trusted in ("met.example", "other, MET.example:8000"):
        done = project.cli("scene", "add", scene, "--replace", STILT_TRUSTED_HOSTS=trusted)
        assert "valley" in done.stdout
    other = project.scene_file(meteorology={"directory": "http://169.254.169.254/computeMetadata/v1"})
    assert "must be a path, or begin with gs://" in project.error(
        "scene", "add", other, STILT_TRUSTED_HOSTS="met.example"
    )
    held = project.scene_file(meteorology={"directory": "http://user:word@met.example/x"})
    assert "must not hold credentials" in project.error("scene", "add", held, STILT_TRUSTED_HOSTS="met.example")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("10.1.2.3", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:a9fe:a9fe::1", False),
        ("64:ff9b::808:808", True),
    ],
)
def test_addresses_that_are_public(address: str, public: bool) -> None:
    from stilt_dagster.resources.remote.hosts import is_public

    assert is_public(address) is public
