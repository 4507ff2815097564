"""The store: one root, a directory or a bucket, laid out the same everywhere.

::

    scenes/<scene>.json, <scene>.<hash>.parquet     the latter many receptors, or the soundings of a retrieval's scene
    receptors/<scene>.parquet
    meteorology_aggregate/<scene>.arl, <scene>.json; <scene>~2.arl ... of nested grids; content/<sha256>.json
    trajectories/<scene>/<shard>/part-00000.parquet ...
    footprints/<scene>/<shard>/part-00000.nc ...
    background/<scene>.parquet
    jacobian/<scene>.nc
    logs/<scene>/                                   of Slurm's array jobs, where the store is a directory
    sources/<name>.yaml, <name>.ledger.json         where granules land, and which were handled
    campaigns/<name>.yaml                           which scenes belong together
    prices.yaml, costs/calibration.json             what CPU and bytes cost; what scenes took, for the plans of others

Files appear whole or not at all. What parses specs is imported when one is parsed: listing scenes needs none of it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from stilt_dagster.resources.folders import Directory, Folder
from stilt_dagster.science.errors import SceneError, StoreError
from stilt_dagster.science.scratch import scratch_directory
from stilt_dagster.science.validation import SCENE_ID, HoldsCredentials, check_url

if TYPE_CHECKING:
    from stilt_dagster.science.observations.soundings import Soundings
    from stilt_dagster.science.scenes.receptors import Receptors
    from stilt_dagster.science.scenes.spec import Scene
    from stilt_dagster.science.scratch import Source


class Store:
    """A store.

    Parameters
    ----------
    url : str
        A directory, or the URL of a bucket and prefix.

    Raises
    ------
    StoreError
        If *url* is not something that can be a store.
    """

    def __init__(self, url: str) -> None:
        scheme, separator, rest = url.partition("://")
        self.directory: Path | None = None
        try:
            check_url(url)
        except HoldsCredentials as error:
            raise StoreError(f"STILT_STORE {error}") from None
        except ValueError as error:
            raise StoreError(f"STILT_STORE {url!r} {error}") from None
        if not separator or scheme == "file":
            self.directory = Path(rest if separator else url).expanduser().resolve()
        elif scheme not in ("gs", "s3", "az", "memory"):
            raise StoreError(f"STILT_STORE {url!r} is not a directory, or a URL of gs://, s3:// or az://")
        #: The directory, or the bucket and prefix, without a slash at its end.
        self.root = str(self.directory or url.rstrip("/"))

    @property
    def is_local(self) -> bool:
        """Whether the store is a directory of this machine."""
        return self.directory is not None

    def folder(self, *parts: str) -> Folder:
        """Return a folder of the store.

        Raises
        ------
        StoreError
            If a part is not a plain name.
        """
        for part in parts:
            if not SCENE_ID.fullmatch(part):
                raise StoreError(f"{part!r} is not the name of a scene, shard or asset")
        if self.directory is not None:
            return Directory(self.directory.joinpath(*parts))
        # Slow to import, and not for directories.
        from stilt_dagster.resources.object_folders import ObjectFolder
        from stilt_dagster.resources.remote.buckets import objects_at

        # The folders below a scene's hold its parts alone; those above a file of every scene, or of every content.
        return ObjectFolder(objects_at("/".join((self.root, *parts))), listed=len(parts) > 2)

    def scratch(self) -> AbstractContextManager[Path]:
        """Give a directory to prepare files in; on a local store's own disk, so that putting them is a rename."""
        return scratch_directory(self.directory / ".scratch" if self.directory else None)

    def scenes(self) -> list[str]:
        """Return the ids of all registered scenes, sorted."""
        return [n.removesuffix(".json") for n in self.folder("scenes").names() if n.endswith(".json")]

    def has_scene(self, scene: str) -> bool:
        """Return whether a scene is registered."""
        return self.folder("scenes").has(f"{self._checked(scene)}.json")

    @staticmethod
    def _checked(scene: str) -> str:
        if not SCENE_ID.fullmatch(scene):
            raise SceneError(f"{scene!r} is not a scene id: lower-case letters, digits, '.', '_' and '-' only")
        return scene

    def scene(self, scene: str) -> Scene:
        """Return a scene's spec.

        Raises
        ------
        SceneError
            If the scene is not registered, or its spec is not valid.
        """
        return self._parsed(scene, self.spec_text(scene))

    def spec_text(self, scene: str) -> str:
        """Return a scene's spec as it is stored: JSON.

        Raises
        ------
        SceneError
            If the scene is not registered.
        """
        text = self.folder("scenes").read(f"{self._checked(scene)}.json")
        if text is None:
            raise SceneError(
                f"scene {scene} has no spec in {self.root}/scenes: register it with `stilt-dagster scene add FILE`"
            )
        return text

    def _parsed(self, scene: str, text: str) -> Scene:
        """Return the scene of a stored spec; the last few stay parsed, since each step of a run asks anew."""
        from stilt_dagster.science.scenes.loading import scene_from_json

        known = (self.root, scene, text)
        with _PARSING:
            if known not in _PARSED:
                try:
                    parsed = scene_from_json(text, self._read_companion)
                except ValueError as error:
                    raise SceneError(
                        f"the spec of {scene} in {self.root}/scenes is damaged: {error}; register it again"
                    ) from error
                if parsed.id != scene:
                    raise SceneError(
                        f"the spec of {scene} in {self.root}/scenes is that of {parsed.id}: remove it, register {scene}"
                    )
                _PARSED[known] = parsed
                while len(_PARSED) > _PARSED_AT_MOST:
                    _PARSED.popitem(last=False)
            _PARSED.move_to_end(known)
            return _PARSED[known]

    def write_scene(self, scene: Scene) -> None:
        """Write a scene's spec, and before it what is kept beside it; then remove what was beside an earlier one."""
        from stilt_dagster.science.scenes.receptor_table import write_receptors

        folder, wanted = self.folder("scenes"), _companion_name(scene)
        earlier = self._companion_name_of(folder.read(f"{scene.id}.json"))
        if wanted:
            with self.scratch() as scratch:
                if scene.has_columns:
                    scene.soundings.write(scratch / wanted)
                else:
                    write_receptors(scene.receptor_list, scratch / wanted)
                folder.put(scratch / wanted, wanted)
        folder.write(f"{scene.id}.json", scene.to_json())
        if earlier not in ("", wanted):
            folder.remove(earlier)

    def remove_scene(self, scene: str) -> None:
        """Remove a scene's spec, then what is kept beside it; nothing, if there is none."""
        folder = self.folder("scenes")
        beside = self._companion_name_of(folder.read(f"{self._checked(scene)}.json"))
        folder.remove(f"{scene}.json")
        if beside:
            folder.remove(beside)

    @staticmethod
    def _companion_name_of(text: str | None) -> str:
        """Return the name of what is kept beside a stored spec; empty if there is nothing, or the spec is damaged."""
        from stilt_dagster.science.scenes.loading import scene_from_json

        try:
            return "" if text is None else _companion_name(scene_from_json(text))
        except (ValueError, SceneError):
            return ""

    def _read_companion(self, scene: Scene) -> tuple[Receptors, Soundings | None]:
        from stilt_dagster.science.scenes.receptor_table import read_receptors

        folder, name = self.folder("scenes"), _companion_name(scene)
        retrieval = scene.receptors.retrieval
        if retrieval is None:
            receptors = folder.open(name, read_receptors, whole=True)
            if receptors is not None:
                return receptors, None
        elif (soundings := folder.open(name, _read_soundings, whole=True)) is not None:
            from stilt_dagster.science.observations.column_operator import column_receptors

            return column_receptors(soundings, retrieval.top, slant=retrieval.geometry == "slant"), soundings
        raise SceneError(f"the receptors of {scene.id}, {self.root}/scenes/{name}, are missing: register it again")


#: Scenes as parsed, by store, id and spec: what is kept beside a spec is named by its content.
_PARSED: OrderedDict[tuple[str, str, str], Scene] = OrderedDict()
_PARSED_AT_MOST = 2
_PARSING = threading.Lock()


def _read_soundings(source: Source) -> Soundings:
    from stilt_dagster.science.observations.soundings import read_soundings

    return read_soundings(source)


def _companion_name(scene: Scene) -> str:
    """Return the name of what is kept beside a spec: another one for other content; empty if nothing is."""
    return f"{scene.id}.{scene.companion}.parquet" if scene.companion else ""
