"""Reading a scene: its YAML, or a stiltctl domain file, with the files it names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.files.format_numbers import SCENE_FORMAT, without_format
from stilt_dagster.science.scenes.domain_file import is_domain, scene_from_domain
from stilt_dagster.science.scenes.observation_settings import Retrieval, Retrieved
from stilt_dagster.science.scenes.receptor_files import read_receptor_file
from stilt_dagster.science.scenes.receptors import Receptors
from stilt_dagster.science.scenes.settings import parse_time
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.validation import STORED, digest, parse_yaml, read_text, validate

if TYPE_CHECKING:
    from stilt_dagster.science.observations.soundings import Soundings

#: Reads a retrieval: what it was, its soundings as selected, and the receptors they become.
Retrieve = Callable[[Retrieval, str], "tuple[Retrieved, Soundings, Receptors]"]

#: Returns what is kept beside a scene's spec: its receptors, and of a retrieval its soundings.
ReadCompanion = Callable[[Scene], "tuple[Receptors, Soundings | None]"]


def load_scene(path: Path, retrieve: Retrieve | None = None) -> Scene:
    """Read a scene's YAML, or a stiltctl domain file.

    Parameters
    ----------
    path : Path
        The file. Relative paths in it start at its directory.
    retrieve : callable, optional
        Reads a retrieval, for scenes whose receptors are one's.

    Returns
    -------
    Scene
        Checked and complete.

    Raises
    ------
    SceneError
        One line naming the file, each field in error, and what is allowed.
    RetrievalError
        If the retrieval cannot be used.
    """
    return parse_scene(read_text(path, SceneError), str(path), path.parent, path.stem, retrieve)


def parse_scene(
    text: str | dict[str, Any], where: str, base: Path | None, stem: str = "scene", retrieve: Retrieve | None = None
) -> Scene:
    """Read a scene from YAML *text*, or what it holds.

    *where* names it in errors, *stem* a domain that has no name. Paths start at *base*; without, they must be absolute.
    """
    names = "a scene: names and values, such as name, time, receptors, footprint"
    data = parse_yaml(text, where, names, SceneError) if isinstance(text, str) else text
    base = base or Path("/")
    if is_domain(data):
        data = scene_from_domain(data, stem, where)
    receptors = data.get("receptors")
    for section, name in (("meteorology", "directory"), ("background", "uri"), ("transport_error", "flux")):
        data = _located(data, section, name, base)
    if isinstance(receptors, dict) and "table" in receptors:
        raise SceneError(f"{where}: receptors.table is written when a scene is registered: give receptors.file")
    if isinstance(receptors, dict) and "file" in receptors:
        others = {k: v for k, v in receptors.items() if k != "file" and v is not None}
        if others:
            raise SceneError(f"{where}: receptors: needs exactly one of grid, points, file, retrieval")
        return _of_file(data, where, base)
    if isinstance(receptors, dict) and isinstance(receptors.get("retrieval"), dict):
        return _retrieved(_located(data, "receptors", "retrieval", base), where, retrieve)
    return make_scene(data, where)


def _of_file(data: dict[str, Any], where: str, base: Path) -> Scene:
    """Return a scene whose receptors are a file's."""
    try:
        time = None if data.get("time") is None else parse_time(data["time"])
    except ValueError as error:
        raise SceneError(f"{where}: time: {error}") from None
    receptors = read_receptor_file(base, data["receptors"]["file"], where, time)
    source = {"table": {"count": len(receptors), "positions": digest(receptors.ids)}}
    if time is None:
        time = receptors[int(receptors.minutes.argmin())].time
    scene = validate(Scene, {**data, "time": time.isoformat(), "receptors": source}, where, SceneError)
    return scene.with_receptors(receptors).canonical()


def _located(data: dict[str, Any], section: str, name: str, base: Path) -> dict[str, Any]:
    """Return a spec with a path in it that starts at *base* as an absolute one."""
    part = data.get(section)
    if not isinstance(part, dict):
        return data
    value = part.get(name)
    if isinstance(value, dict):
        return {**data, section: _located(part, name, "uri", base)}
    if not isinstance(value, str) or "://" in value:
        return data
    return {**data, section: {**part, name: str((base / Path(value).expanduser()).resolve())}}


def _retrieved(data: dict[str, Any], where: str, retrieve: Retrieve | None) -> Scene:
    """Return a retrieval's scene, its soundings read."""
    if retrieve is None:
        raise SceneError(
            f"{where}: receptors.retrieval cannot be read here: register it with `stilt-dagster scene add`"
        )
    given = data["receptors"]["retrieval"]
    retrieval = validate(Retrieval, given, f"{where}: receptors.retrieval", SceneError)
    retrieved, soundings, receptors = retrieve(retrieval, where)
    source = {**given, "retrieved": retrieved.model_dump()}
    first = soundings.time.min().astype("datetime64[s]").item()
    complete = {**data, "time": data.get("time") or first.isoformat(), "receptors": {"retrieval": source}}
    return make_scene(complete, where).with_receptors(receptors, soundings)


def make_scene(data: Any, where: str, *, context: object = None) -> Scene:
    """Check and complete a spec; *where* names it in errors, *context* is ``STORED`` of one that is read back.

    Raises
    ------
    SceneError
        One line naming *where*, each field in error, and what is allowed.
    """
    scene = validate(Scene, data, where, SceneError, context=context)
    if scene.companion or scene.has_columns:
        return scene
    try:
        scene.receptor_list.require_distinct()
    except (SceneError, ValueError) as error:
        raise SceneError(f"{where}: {error}") from None
    return scene.canonical()


def scene_from_json(text: str | bytes, read_companion: ReadCompanion | None = None) -> Scene:
    """Read a spec that :meth:`Scene.to_json` wrote.

    Parameters
    ----------
    text : str
        The spec.
    read_companion : callable, optional
        Gives what is kept beside it; without, receptors that are kept there are left out.

    Raises
    ------
    SceneError
        If it is not a spec.
    FormatError
        If a later version wrote it.
    """
    data = json.loads(text)
    name = data.get("id") if isinstance(data, dict) else ""
    spec = without_format(data, SCENE_FORMAT, f"the spec of scene {name!s:.100}")
    scene = make_scene(spec, "the stored spec", context=STORED)
    return (
        scene.with_receptors(*read_companion(scene))
        if scene.companion and read_companion and not scene.is_loaded
        else scene
    )
