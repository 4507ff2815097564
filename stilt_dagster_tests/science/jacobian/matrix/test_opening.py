"""Which files are taken for one matrix, from where, and what is said of those that are not."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from stilt_dagster import open_jacobian
from stilt_dagster.operations.campaigns.definition import add_campaign
from stilt_dagster.resources.remote.buckets import objects_at
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import FormatError, IncompleteError, JacobianError, UserError
from stilt_dagster.science.jacobian.concatenate import concatenate
from stilt_dagster_tests.harness import gcs
from stilt_dagster_tests.science.jacobian.files import DAY, sample


def _set(name: str, value: object, attribute: str | None = None) -> Callable[[Path], None]:
    """Return what changes a variable of a file, or an attribute of it."""

    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            if attribute:
                file[name].attrs[attribute] = value
            else:
                file[name][...] = value

    return change


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def _without(name: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            del file[name]

    return change


def _linked(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["passwords"] = h5py.ExternalLink("/etc/passwd", "/")


def _format(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = "stilt-jacobian/2"


def _other(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file.attrs["format"]


def _shape(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["shape"] = [4, 145]


def _nothing(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_format, "is of format stilt-jacobian/2, and this version reads stilt-jacobian/1: upgrade"),
        (_other, r"is no jacobian: name a scene's, <store>/jacobian/<scene>\.nc"),
        (_nothing, "no whole jacobian"),
        (_cut, "no whole jacobian"),
        (_without("indptr"), "no whole jacobian"),
        (_without("lat_bnds"), "no whole jacobian"),
        (_linked, "'passwords' is a link into another file"),
        (_shape, r"its shape \(4, 145\) is not that of its rows and columns"),
        (_set("indptr", [0, 50, 40, 90, 173]), "indptr does not ascend"),
        (_set("indptr", [0, 50, 60, 90, 999]), "indptr ends at 999 of 173 entries"),
        (_set("status", 7), "status has values"),
        (
            _set("flux_time_bnds", np.column_stack([DAY + 2 * np.arange(6), DAY + 2 * np.arange(6) + 1])),
            "hours of flux",
        ),
        (_set("lon_bnds", 0.0), "cells of its lon axis do not join"),
        (_set("data", "ppb nmol-1 m2 s", "units"), "entries in ppb nmol-1 m2 s"),
        (_set("flux_time", "days since 2000-01-01", "units"), "flux_time in days since"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(damage: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    path = sample().write(tmp_path / "a.nc")
    damage(path)
    good = sample("b").write(tmp_path / "b.nc")
    for use in (lambda: open_jacobian([good, path]), lambda: concatenate([good, path], tmp_path / "out.nc")):
        with pytest.raises((JacobianError, FormatError), match=message) as error:
            use()
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "out.nc").exists()


@pytest.mark.parametrize("value", [144, 2**31 - 1, -1])
@pytest.mark.parametrize("compressed", [False, True])
def test_columns_there_are_not_are_never_used(value: int, compressed: bool, tmp_path: Path) -> None:
    """Opening does not read them; every product does, and none reaches beyond its vectors."""
    made = sample().but(compressed=compressed)
    made.matrix.indices[17] = value
    h = open_jacobian(made.write(tmp_path / "a.nc"))
    for use in (
        lambda: h.matvec(np.ones(144)),
        lambda: h.matvec(np.ones((144, 2))),
        lambda: h.rmatvec(np.ones(4)),
        lambda: h.rmatvec(np.ones((4, 2))),
        h.to_csr,
        lambda: concatenate([tmp_path / "a.nc"], tmp_path / "out.nc"),
    ):
        with pytest.raises(JacobianError, match=r"a\.nc is damaged: entries lie in columns beyond its 144"):
            use()


def test_scenes_of_other_times_of_flux_are_refused_or_joined(tmp_path: Path) -> None:
    hours = sample("a").write(tmp_path / "a.nc")
    whole = sample("b", integrated=True).write(tmp_path / "b.nc")
    later = sample("c", integrated=True, first=DAY + 3).write(tmp_path / "c.nc")
    same = sample("d", integrated=True).write(tmp_path / "d.nc")
    with pytest.raises(JacobianError, match=r"a\.nc has hours of flux and .*b\.nc longer times"):
        open_jacobian([hours, whole])
    with pytest.raises(JacobianError, match=r"b\.nc has other times of flux than .*c\.nc, which overlap"):
        open_jacobian([whole, later])
    h = open_jacobian([whole, same])
    assert h.shape == (8, 24)
    np.testing.assert_allclose(h @ np.ones(24), h.obs.row_sum, rtol=1e-6)


def test_nothing_to_open_is_said_in_a_line(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    add_campaign(store, "scenes: ['a*']", "may", "may.yaml")
    for use, kind, message in (
        (lambda: open_jacobian([]), JacobianError, "name at least one"),
        (lambda: open_jacobian(tmp_path / "none.nc"), IncompleteError, r"there is no file .*none\.nc"),
        (lambda: open_jacobian(tmp_path), JacobianError, r"is a directory: open a campaign .* campaign=NAME"),
        (lambda: open_jacobian(7), JacobianError, r"a path or URL, or several are a list of them \(got 7\)"),
        (lambda: open_jacobian([None]), JacobianError, r"\(got None\)"),
        (lambda: open_jacobian(np.array("a.nc")), JacobianError, "a path or URL"),
        (lambda: open_jacobian(str(tmp_path), campaign=["may"]), JacobianError, "a campaign is named by text"),
        (lambda: open_jacobian(str(tmp_path), campaign="may"), IncompleteError, "no scene of campaign may has a"),
        (lambda: open_jacobian(str(tmp_path), campaign="june"), UserError, "no campaign 'june'"),
        (lambda: open_jacobian([tmp_path], campaign="may"), JacobianError, "a campaign is of one store"),
        (lambda: open_jacobian("gs://key:secret@bucket/a.nc"), JacobianError, "must not hold credentials"),
        (lambda: open_jacobian("ftp://host/a.nc"), JacobianError, "must be a path, or begin with gs://"),
    ):
        with pytest.raises(kind, match=message) as error:
            use()
        assert "secret" not in str(error.value)


def test_a_file_written_anew_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    path = sample(seed=1).write(tmp_path / "a.nc")
    h = open_jacobian(path)
    sample(seed=2, density=0.5).write(tmp_path / "new.nc").replace(path)
    with pytest.raises(JacobianError, match="was written anew since it was opened"):
        h.matvec(np.ones(144))


def test_a_campaign_of_a_bucket_is_as_one_of_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"
    for k, scene in enumerate(("a1", "a2", "b1")):
        sample(scene, seed=k, first=DAY + k).but(compressed=k == 1).write(store / "jacobian" / f"{scene}.nc")
    (store / "scenes").mkdir()
    for scene in ("a1", "a2", "a3", "b1"):
        (store / "scenes" / f"{scene}.json").write_text("{}")
    add_campaign(Store(str(store)), "scenes: ['a*']", "may", "may.yaml")
    local = open_jacobian(store, campaign="may")
    assert local.obs.scene.unique().tolist() == ["a1", "a2"]
    x, y = np.random.default_rng(0).random((local.shape[1], 2)), np.ones(8)
    with gcs.GcsServer("bucket") as server:
        gcs.use(monkeypatch, server)
        for path in sorted(p for p in store.rglob("*") if p.is_file()):
            directory = objects_at(f"gs://bucket/store/{path.parent.relative_to(store)}")
            with path.open("rb") as file:
                directory.write(path.name, file, path.stat().st_size, None)
        remote = open_jacobian("gs://bucket/store", campaign="may")
        for h in (remote, pickle.loads(pickle.dumps(remote))):
            assert np.array_equal(h @ x, local @ x)
            np.testing.assert_allclose(h.rmatvec(y), local.rmatvec(y), rtol=1e-12)
        assert remote.obs.equals(local.obs)
        one = open_jacobian("gs://bucket/store/jacobian/b1.nc")
        assert one.shape == (4, 144)
        with pytest.raises(IncompleteError, match=r"there is no file gs://bucket/store/jacobian/b2\.nc"):
            open_jacobian("gs://bucket/store/jacobian/b2.nc")
        directory = objects_at("gs://bucket/store/jacobian")
        with (store / "jacobian/a1.nc").open("rb") as file:
            directory.write("b1.nc", file, (store / "jacobian/a1.nc").stat().st_size, directory.stat("b1.nc"))
        with pytest.raises(UserError, match=r"b1\.nc was replaced while it was read"):
            one.matvec(np.ones(144))


def test_a_campaign_is_opened_without_dagster(tmp_path: Path) -> None:
    """Which takes a second to import, and warns in notebooks of what it calls beta."""
    sample("a1").write(tmp_path / "jacobian" / "a1.nc")
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "a1.json").write_text("{}")
    add_campaign(Store(str(tmp_path)), "scenes: ['a*']", "may", "may.yaml")
    code = (
        "import sys; from stilt_dagster import open_jacobian; "
        f"print(open_jacobian({str(tmp_path)!r}, campaign='may').shape, 'dagster' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(4, 144) False\n", "")


def test_a_concatenated_file_is_the_matrix_of_its_scenes(tmp_path: Path) -> None:
    paths = [sample(s, seed=k, first=DAY + 4 * k).write(tmp_path / f"{s}.nc") for k, s in enumerate("ab")]
    concatenate(paths, tmp_path / "both.nc")
    one, two = open_jacobian(tmp_path / "both.nc"), open_jacobian(paths)
    x = np.random.default_rng(0).random(two.shape[1])
    assert np.array_equal(one @ x, two @ x)
    assert one.obs.scene.tolist() == two.obs.scene.tolist()
    shutil.copy(tmp_path / "both.nc", tmp_path / "again.nc")
    with pytest.raises(JacobianError, match="observation a-0 is in"):
        open_jacobian([tmp_path / "both.nc", tmp_path / "again.nc"])
