"""The format of each kind of file, a name and a number, and the refusal of files of a later one.

A number is raised when files come out so that earlier versions would misread them. A file that names no format is of
number 1, as all of version 0.1 are but jacobians. Files that earlier versions read by exact names (specs, descriptions,
ledgers, calibrations) name theirs from number 2 on, so that a version that is taken back reads what a later one wrote.

There is no mark on a whole store: every command on a scene reads its spec first, so that a scene laid out otherwise is
one whose spec has another number. Stores are moved on scene by scene that way, without a lock.
"""

from __future__ import annotations

from typing import Any

from stilt_dagster.science.errors import FormatError

SCENE_FORMAT = "stilt-scene/1"
RECEPTORS_FORMAT = "stilt-receptors/1"
AGGREGATE_FORMAT = "stilt-aggregate/1"
PARTICLES_FORMAT = "stilt-particles/1"
FOOTPRINTS_FORMAT = "stilt-footprints/1"
BACKGROUND_FORMAT = "stilt-background/1"
JACOBIAN_FORMAT = "stilt-jacobian/1"
SOURCE_FORMAT = "stilt-source/1"
LEDGER_FORMAT = "stilt-ledger/1"
CAMPAIGN_FORMAT = "stilt-campaign/1"
PRICES_FORMAT = "stilt-prices/1"
CALIBRATION_FORMAT = "stilt-calibration/1"

#: Key of the metadata of Parquet files, and name of an attribute of NetCDF files and a field of others.
METADATA_KEY, FIELD = "stilt:format", "format"


def require_format(found: Any, known: str, where: object) -> None:
    """Make sure that a file is of a format that is read.

    Parameters
    ----------
    found : str, bytes, or None
        What the file says; None or empty where it says nothing, and so is of number 1.
    known : str
        The format that is read: this number, and those before it.
    where : object
        What errors call the file.

    Raises
    ------
    FormatError
        If it is of a later number, or of another kind.
    """
    if found is None or found == "":
        return
    text = found.decode(errors="replace") if isinstance(found, bytes) else str(found)
    kind, latest = known.split("/")
    name, _, number = text.partition("/")
    if name == kind and number.isascii() and number.isdigit() and len(number) < 5 and 0 < int(number) <= int(latest):
        return
    raise FormatError(where, f"{text:.40}", known)


def without_format(data: dict[str, Any], known: str, where: object) -> dict[str, Any]:
    """Return what a JSON or YAML file holds without its ``format``, once that is known to be one that is read.

    Raises
    ------
    FormatError
        If it is not.
    """
    if not isinstance(data, dict) or FIELD not in data:
        return data
    require_format(data[FIELD], known, where)
    return {name: value for name, value in data.items() if name != FIELD}
