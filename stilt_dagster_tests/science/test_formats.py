"""What is said of the files is what is in them: names, types, dimensions, units."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stilt_dagster.science.formats import FORMATS, Variable
from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.science.formats import hold_what_is_declared

SCENE = "valley-20230715t0920"


@pytest.mark.parametrize(
    ("asset", "pattern"), [("footprints", f"footprints/{SCENE}/*/part-*.nc"), ("jacobian", f"jacobian/{SCENE}.nc")]
)
def test_netcdf_files_hold_the_variables_that_are_declared(finished: Project, asset: str, pattern: str) -> None:
    hold_what_is_declared(sorted(finished.store.glob(pattern))[0], asset)


@pytest.mark.parametrize(
    ("asset", "pattern"),
    [("receptors", f"receptors/{SCENE}.parquet"), ("trajectories", f"trajectories/{SCENE}/*/part-*.parquet")],
)
def test_tables_hold_the_columns_that_are_declared(finished: Project, asset: str, pattern: str) -> None:
    declared = {v.name: v for v in FORMATS[asset]}
    schema = pq.read_schema(sorted(finished.store.glob(pattern))[0])
    for field in schema:
        assert _arrow(field.type) == declared[field.name].kind.split("[")[0].split("<")[0], field.name
    assert {n for n, v in declared.items() if not v.optional} <= set(schema.names)


def _arrow(kind: pa.DataType) -> str:
    for test, name in (
        (pa.types.is_decimal, "decimal"),
        (pa.types.is_timestamp, "timestamp"),
        (pa.types.is_dictionary, "dictionary"),
    ):
        if test(kind):
            return name
    return str(kind)


def test_every_variable_is_told_of_once() -> None:
    for asset, variables in FORMATS.items():
        assert len({v.name for v in variables}) == len(variables), asset
        assert all(isinstance(v, Variable) and v.meaning for v in variables)
