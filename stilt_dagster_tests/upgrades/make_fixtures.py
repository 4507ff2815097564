"""Make the fixtures of this folder: stores and Dagster instances as earlier versions of stilt_dagster left them.

``python -m stilt_dagster_tests.upgrades.make_fixtures [ERA...]`` checks each era's commit out beside the repository,
runs that code's own command line on the smallest scenes, and keeps what it left as ``<era>.tar.xz``. The commits are
those of this repository's history; an archive whose commit is not there any more stays what it is.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import yaml

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster_tests.retrievals.granules import tropomi_name, write_tropomi

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

#: Where the fixtures were made: paths in them begin so, on whatever machine they are used.
PLACE = Path("/tmp/stilt-0.1")

SCENE = {
    "name": "valley",
    "time": "2023-07-15T09:20:00Z",
    "receptors": {
        "points": [{"longitude": -112.05, "latitude": lat, "height": 5} for lat in (40.4, 40.45)],
    },
    "transport": {"n_hours": -2, "numpar": 10},
    "footprint": {"xmin": -112.8, "xmax": -111.8, "xres": 0.05, "ymin": 40.1, "ymax": 40.8, "yres": 0.05},
    "meteorology": {"directory": str(PLACE / "meteorology"), "pattern": "%Y%m%d_%H-*_hrrr"},
}
ERROR_SCENE = {
    **SCENE,
    "name": "windy",
    "transport": {**SCENE["transport"], "siguverr": 2.0, "tluverr": 60, "zcoruverr": 500, "horcoruverr": 40},
    "background": {"boundary": {"heights": [0, 1000, 3000]}},
}
SOURCE = {
    "uri": str(PLACE / "granules"),
    "product": "tropomi_ch4",
    "areas": {"slc": {"xmin": -112.2, "xmax": -111.8, "ymin": 40.3, "ymax": 40.7}},
    "settle": 0,
    "top": 1000,
    "scene": {key: SCENE[key] for key in ("transport", "footprint", "meteorology")},
}
CAMPAIGN = {"scenes": ["valley-*"], "sources": ["tropomi"]}
CALIBRATION = {"Example CPU": {"cpu": 1.1, "scene": "valley-20230715t0920", "engine": "x", "machine": "Example CPU"}}

#: Eras: the commit, and what there was by then. What each left behind is told in README.md.
ERAS = {
    "first": ("abff1fe", ()),
    "before-reports": ("30e90d1", ()),
    "before-matrix": ("5ad8d13", ("retrieval", "campaign")),
    "last": ("4e1b208", ("retrieval", "campaign", "errors")),
}


def make(era: str) -> Path:
    """Run an era's code, and return the archive of what it left."""
    commit, has = ERAS[era]
    code = Path(f"/tmp/stilt-code-{era}")
    subprocess.run(["git", "worktree", "add", "--force", "--detach", code, commit], cwd=ROOT, check=True)
    shutil.rmtree(PLACE, ignore_errors=True)
    try:
        (PLACE / "home").mkdir(parents=True)
        shutil.copyfile(code / "dagster.yaml", PLACE / "home" / "dagster.yaml")
        make_meteorology(
            PLACE / "meteorology", "2023-07-15T06:00", 12, (-114.0, 38.8, -110.4, 42.2), Weather(6.0, 270.0)
        )
        env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("STILT_")},
            "PYTHONPATH": str(code),
            "STILT_STORE": str(PLACE / "store"),
            "DAGSTER_HOME": str(PLACE / "home"),
            "PYTHONWARNINGS": "ignore",
        }

        def cli(*args: str) -> str:
            command = [sys.executable, "-m", "stilt_dagster.cli", *args]
            done = subprocess.run(command, env=env, cwd=PLACE, capture_output=True, text=True, check=False)
            print(era, *args, done.stdout[-200:], done.stderr[-500:])
            done.check_returncode()
            return done.stdout

        def add(scene: dict[str, object]) -> None:
            (PLACE / "scene.yaml").write_text(yaml.safe_dump(scene))
            cli("scene", "add", "scene.yaml")

        add(SCENE)
        scenes = ["valley-20230715t0920"]
        if "retrieval" in has:
            (PLACE / "granules").mkdir()
            write_tropomi(PLACE / "granules" / tropomi_name(), scanlines=1, pixels=2)
            (PLACE / "store" / "sources").mkdir()
            (PLACE / "store" / "sources" / "tropomi.yaml").write_text(yaml.safe_dump(SOURCE))
            cli("retrievals", "scan")
            scenes.append("tropomi-slc-20230715-o29801")
        if "errors" in has:
            add(ERROR_SCENE)
            scenes.append("windy-20230715t0920")
        if "campaign" in has:
            (PLACE / "june.yaml").write_text(yaml.safe_dump(CAMPAIGN))
            cli("campaign", "add", "june.yaml")
            (PLACE / "store" / "costs").mkdir(exist_ok=True)
            (PLACE / "store" / "costs" / "calibration.json").write_text(json.dumps(CALIBRATION))
            shutil.copyfile(code / "stilt_dagster/science/costs/prices.yaml", PLACE / "store" / "prices.yaml")
        for scene in scenes:
            cli("scene", "run", scene)
        return _archive(HERE / f"{era}.tar.xz")
    finally:
        shutil.rmtree(PLACE)
        subprocess.run(["git", "worktree", "remove", "--force", code], cwd=ROOT, check=True)


def _without_pictures(database: Path) -> None:
    """Cut the pictures out of a database of events, which are most of it."""
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("select name from sqlite_master where name = 'event_logs'").fetchall()
        rows = connection.execute("select id, event from event_logs").fetchall() if tables else []
        for row, event in rows:
            connection.execute("update event_logs set event = ? where id = ?", (_PICTURE.sub("", event), row))
        connection.commit()
        connection.execute("vacuum")


#: A picture in a text, in base64.
_PICTURE = re.compile(r"(?<=base64,)[A-Za-z0-9+/=]{500,}")


def _archive(path: Path) -> Path:
    """Keep what is opened: of aggregates their names, of reports no scripts, of events no pictures."""
    for database in (PLACE / "home").rglob("*.db"):
        _without_pictures(database)
    with tarfile.open(path, "w:xz", preset=9, format=tarfile.PAX_FORMAT) as archive:
        for file in sorted(p for p in PLACE.rglob("*") if p.is_file()):
            name = file.relative_to(PLACE)
            if name.parts[0] not in ("store", "home") or ".logs_queue" in name.parts or "storage" in name.parts[1:2]:
                continue
            data = file.read_bytes()
            if file.suffix == ".arl":
                data = b"the aggregate of a finished scene is read by nobody"
            elif file.suffix == ".html":
                data = re.sub(rb"<script(?![^>]*json).*?</script>", b"", data, flags=re.DOTALL)
            entry = tarfile.TarInfo(str(name))
            entry.size, entry.mtime, entry.mode = len(data), 1_700_000_000, 0o644
            archive.addfile(entry, io.BytesIO(data))
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} kB")
    return path


if __name__ == "__main__":
    for wanted in sys.argv[1:] or ERAS:
        make(wanted)
