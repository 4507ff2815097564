"""Whether this machine, and what it is set up with, can run scenes: one line each, and how to fix what cannot."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stilt_dagster.resources.meteorology_archive import FileArchive
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import NoEngineError, UserError
from stilt_dagster.slurm import scheduler
from stilt_dagster.slurm.scheduler import SlurmError

#: Free space below which a scene of a few hundred receptors may not fit, bytes; and memory a run takes on two cores.
_DISK, _MEMORY = 10 * 2**30, 2 * 2**30

#: File systems of other machines, on which locks of SQLite may not hold.
_NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gpfs", "lustre", "nfs", "nfs4", "panfs"}
    | {"smb3", "wekafs"}
)


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes
    ----------
    name : str
        What was looked at.
    ok : bool
        Whether scenes can be run with it.
    detail : str
        What it is, or what is wrong.
    fix : str
        What to do, if something is wrong.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""


def examine(
    store_url: Callable[[], str],
    meteorology_root: Callable[[], str],
    cluster: Callable[[], str],
    home: Path,
    engine_directory: Callable[[], Path | None],
) -> Iterator[Finding]:
    """Yield what is found of this machine and of what it is set up with.

    Parameters
    ----------
    store_url, meteorology_root, cluster : callable
        Give ``STILT_STORE``, ``STILT_MET`` and ``STILT_CLUSTER``.
    home : Path
        ``DAGSTER_HOME``.
    engine_directory : callable
        Gives ``STILT_EXE_DIR``.
    """
    yield _platform()
    yield _engine(engine_directory())
    yield _store(store_url)
    yield _meteorology(meteorology_root)
    yield _instance(home)
    yield from _cluster(cluster)
    yield _disk(Path(tempfile.gettempdir()))
    yield _memory()


def _platform() -> Finding:
    here = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    ok = platform.system() in ("Linux", "Darwin")
    return Finding("platform", ok, here, "" if ok else "use Linux or macOS")


def _engine(directory: Path | None) -> Finding:
    from stilt_dagster.science.pystilt import WAYS_WITHOUT_ENGINE
    from stilt_dagster.science.transport.hysplit import Hysplit

    try:
        engine = Hysplit(directory)
        with tempfile.TemporaryDirectory() as work:
            # Without its inputs it ends at once, and says who it is.
            done = subprocess.run(
                [str(engine.executable)],
                cwd=work,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        said = f"{done.stdout}{done.stderr}"
        if "HYSPLIT" not in said.upper() and "CONTROL" not in said.upper():
            return _not_starting(engine.executable, said)
        return Finding("hycs_std", True, f"{engine.version}; engine native needs none")
    except NoEngineError:
        return Finding(
            "hycs_std", False, "none: trajectories can be made here by engine native alone", WAYS_WITHOUT_ENGINE
        )
    except UserError as error:
        return Finding("hycs_std", False, str(error), "set it, or unset it for pystilt's build")
    except (OSError, subprocess.TimeoutExpired) as error:
        return _not_starting(engine.executable, str(error))


def _not_starting(executable: Path, said: str) -> Finding:
    fix = "reinstall pystilt, or see docs/how-to/mac.md for the libraries a build of your own needs"
    return Finding("hycs_std", False, f"{executable} does not start: {' '.join(said.split())[:200]}", fix)


def _store(store_url: Callable[[], str]) -> Finding:
    try:
        store = Store(store_url())
        folder = store.folder("doctor")
        folder.write("write-test.txt", "written by stilt-dagster doctor")
        whole = folder.read("write-test.txt") is not None
        folder.remove_all()
        return Finding(
            "store", whole, f"{store.root}, can be written", "" if whole else "set STILT_STORE to another place"
        )
    except UserError as error:
        return Finding("store", False, str(error), "set STILT_STORE to a place you can write")


def _meteorology(meteorology_root: Callable[[], str]) -> Finding:
    try:
        root = meteorology_root()
        if not root:
            return Finding(
                "meteorology", True, "STILT_MET is not set: sources are NOAA's public archives, if reachable"
            )
        archive = FileArchive(root)
        if "://" not in root:
            return Finding("meteorology", True, f"{root}, {len(archive.names(root))} entries")
        archive.open(["none"])  # archives may be in folders, which are not listed: that it answers is what counts
        return Finding("meteorology", True, f"{root}, answers")
    except UserError as error:
        return Finding("meteorology", False, str(error), "set STILT_MET to a directory or bucket URL of ARL archives")


def _instance(home: Path) -> Finding:
    where = home
    while not where.exists():
        where = where.parent
    if not os.access(where, os.W_OK):
        return Finding(
            "DAGSTER_HOME", False, f"{home} cannot be written", "set DAGSTER_HOME to a directory you can write"
        )
    found = f"{home}{'' if home.exists() else ', will be made'}"
    settings = home / "dagster.yaml"
    in_postgres = settings.exists() and "postgres" in settings.read_text(errors="replace")
    if not in_postgres and (kind := file_system(where.resolve())) in _NETWORK:
        found += f"; SQLite on {kind}, whose locks may not hold: for a server use a local disk, or Postgres"
    return Finding("DAGSTER_HOME", True, found)


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the type of the file system a path is on, such as ``nfs4``; empty where the system does not tell."""
    if not mounts.exists():
        return ""
    kinds = {}
    for line in mounts.read_text(errors="replace").splitlines():
        _, point, kind, *_ = line.split(" ")
        kinds[point.encode().decode("unicode_escape")] = kind  # a blank is \\040; a later mount hides an earlier one
    return next((kinds[str(p)] for p in (path, *path.parents) if str(p) in kinds), "")


def _cluster(cluster: Callable[[], str]) -> Iterator[Finding]:
    try:
        if not cluster():
            return
        scheduler.check()
        yield Finding("slurm", True, "sbatch answers, and would accept a job")
    except SlurmError as error:
        yield Finding("slurm", False, str(error), "unset STILT_CLUSTER, or run this where sbatch accepts your jobs")
    except UserError as error:
        yield Finding("slurm", False, str(error), "set STILT_CLUSTER to slurm, or unset it")


def _disk(path: Path) -> Finding:
    free = shutil.disk_usage(path).free
    fix = "" if free >= _DISK else f"free {_DISK / 2**30:.0f} GiB there, or set TMPDIR to a directory with room"
    return Finding("scratch", not fix, f"{path}, {free / 2**30:.1f} GiB free", fix)


def _memory() -> Finding:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fix = "" if size >= _MEMORY else "run fewer simulations at a time: --workers 1"
    return Finding("memory", not fix, f"{size / 2**30:.1f} GiB, {os.cpu_count()} cores", fix)
