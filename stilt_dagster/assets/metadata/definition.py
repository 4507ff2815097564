"""What the UI says of an asset before it is materialized: stage, owners, kinds, schema, and which page tells more."""

from __future__ import annotations

from typing import Any

import dagster as dg

from stilt_dagster.science.formats import FORMATS, Variable
from stilt_dagster.settings import docs_page

#: Stages of a scene, which are the groups of the UI, in order.
STAGES = ("observations", "meteorology", "transport", "products")

#: Who is asked about an asset: a team of the deployment.
OWNERS = ["team:stilt"]


def described(asset: str, stage: str, kinds: set[str], text: str, section: str) -> dict[str, Any]:
    """Return the arguments of ``@asset`` that describe it.

    Parameters
    ----------
    asset : str
        Its name; the schema is that of its files.
    stage : str
        One of :data:`STAGES`.
    kinds : set of str
        Formats and engines, three at most.
    text : str
        What it is, with units.
    section : str
        Heading of docs/reference/files.md that tells of its format.
    """
    page = docs_page("reference/files", section)
    return {
        "group_name": stage,
        "owners": OWNERS,
        "kinds": kinds,
        "tags": {"stilt/stage": stage},
        "description": f"{text}\n\nFormat: {page}",
        "metadata": _schema(FORMATS[asset]) if asset in FORMATS else {},
    }


def _schema(variables: tuple[Variable, ...]) -> dict[str, Any]:
    columns = [
        dg.TableColumn(v.name, v.kind, _text(v), tags={"optional": ""} if v.optional else None) for v in variables
    ]
    return {"dagster/column_schema": dg.TableSchema(columns=columns)}


def _text(variable: Variable) -> str:
    dims = f" ({', '.join(variable.dims)})" if variable.dims else ""
    units = f", {variable.units}" if variable.units else ""
    return f"{variable.meaning}{units}{dims}" + (f"; {variable.optional}" if variable.optional else "")
