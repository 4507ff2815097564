"""Take the pictures of docs/how-to/control-room.md: a demo, a scene that fails, a campaign, and the UI in Chromium.

``make screenshots`` runs it; a few minutes, no network.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs/images"
DEMO = "demo-20230715t1830"

#: A receptor inside the demo's meteorology and one outside it.
PARTLY = """
name: {name}
time: 2023-07-15T18:30:00Z
receptors: {{points: [{{longitude: -112.0, latitude: 40.6, height: 10}}, {{longitude: -90, latitude: 40, height: 10}}]}}
transport: {{n_hours: -2, numpar: 50}}
footprint: {{xmin: -113.0, xmax: -111.0, xres: 0.02, ymin: 39.5, ymax: 41.5, yres: 0.02}}
meteorology: {{directory: {meteorology}, pattern: "%Y%m%d_%H-*_hrrr"}}
max_failed_fraction: {fraction}
"""

PAGES = {
    "ui-lineage": "/assets/jacobian?view=lineage&lineageScope=upstream&lineageDepth=6",
    "ui-asset": "/assets/jacobian?view=overview",
    "ui-partition": f"/assets/receptors?view=partitions&partition={DEMO}",
    "ui-check": "/assets/trajectories?view=checks&checkDetail=every_receptor_is_simulated",
    "ui-failed-runs": "/runs?q%5B0%5D=status%3AFAILURE",
    "ui-campaign": "/assets/campaigns/july",
}


def main() -> None:
    """Make scenes, open the UI on them, take its pictures."""
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        environment = {
            **os.environ,
            "STILT_STORE": str(work / "data"),
            "DAGSTER_HOME": str(work / "home"),
            "PYTHONWARNINGS": "ignore",
        }
        (work / "home").mkdir()
        (work / "home/dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
        make_scenes(work, environment)
        with user_interface(environment) as url:
            for name, page in PAGES.items():
                take(f"{url}{page}", IMAGES / f"{name}.png", work / "browser")
        report = work / f"data/report/{DEMO}.html"
        take(report.as_uri(), IMAGES / "report.png", work / "browser", height=2000)


def make_scenes(work: Path, environment: dict[str, str]) -> None:
    """Run the demo, a scene that loses a receptor and may, one that may not, and a campaign of them."""

    def cli(*words: str) -> int:
        return subprocess.run(
            [Path(sys.executable).parent / "stilt-dagster", *words], env=environment, cwd=work
        ).returncode

    assert cli("demo") == 0
    meteorology = json.loads((work / f"data/scenes/{DEMO}.json").read_text())["meteorology"]["directory"]
    for name, fraction in (("tolerant", 0.6), ("strict", 0.02)):
        (work / f"{name}.yaml").write_text(PARTLY.format(name=name, meteorology=meteorology, fraction=fraction))
        assert cli("scene", "add", f"{name}.yaml") == 0
    (work / "july.yaml").write_text('scenes: ["*-20230715t1830"]\nfresh_within: 2 days\nbudget: {cost: 5}\n')
    assert cli("campaign", "add", "july.yaml") == 0
    cli("campaign", "run", "july")


@contextmanager
def user_interface(environment: dict[str, str]) -> Iterator[str]:
    """Serve the UI while pictures are taken."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "dagster",
        "dev",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "-w",
        "workspace.yaml",
    ]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(60):
            try:
                urllib.request.urlopen(f"{url}/server_info", timeout=5).close()
                break
            except OSError:
                time.sleep(1)
        time.sleep(20)  # code location and freshness are evaluated
        yield url
    finally:
        os.killpg(server.pid, signal.SIGINT)
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def take(url: str, path: Path, profile: Path, height: int = 900) -> None:
    """Take a picture of a page, in few colours."""
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    subprocess.run(
        ["chromium", *flags.split(), "--disable-component-update", "--disable-sync", f"--user-data-dir={profile}",
         "--virtual-time-budget=30000", f"--window-size=1400,{height}", f"--screenshot={path}", url],
        check=True, capture_output=True, timeout=180,
    )  # fmt: skip
    with Image.open(path) as image:
        image.convert("RGB").quantize(96).save(path, optimize=True)


if __name__ == "__main__":
    main()
