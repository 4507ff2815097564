"""Where the mean wind alone takes the native engine's particles, and where it takes those of hycs_std (nturb 1).

    python -m benchmarks.native.mean_advection                              all meteorologies, 150 places at each time
    python -m benchmarks.native.mean_advection --meteorologies hrrr --places 400

Heights are from 10 to 4,000 m. hycs_std prints places to 1e-4 degrees, which makes a median of 2.5e-5.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.native.meteorologies import METEOROLOGIES
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.native.meteorology.fields import read_fields
from stilt_dagster_tests.science.transport.native.mean_tracks import follow_both, somewhere

#: When tracks are compared, minutes after the release.
MINUTES = (1, 60, 180)


def errors(name: str, places: int, folder: Path) -> dict[int, Any]:
    """Return how far tracks are apart: by minute, degrees and m, shape ``(tracks, 2)``."""
    met = METEOROLOGIES[name]
    path = met.path(folder)
    found: dict[int, list[Any]] = {minute: [] for minute in MINUTES}
    for time in met.times.values():
        before = time.timestamp() / 60 - read_fields(path, TransportSettings().z_top).times[0]
        hours = int(min(MINUTES[-1], before) // 60)
        for native, printed in follow_both(Hysplit(), path, time, somewhere(met.box, places), hours):
            for minute in MINUTES:
                if min(len(native), len(printed)) >= minute:
                    apart = np.abs(native[minute - 1] - printed[minute - 1])
                    found[minute].append((max(apart[:2]), apart[2]))
    return {minute: np.array(some) for minute, some in found.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meteorologies", nargs="+", choices=list(METEOROLOGIES), default=list(METEOROLOGIES))
    parser.add_argument("--places", type=int, default=150)
    options = parser.parse_args()
    print("Median, 95th percentile and largest: 1e-4 degrees, m.\n")
    print("| meteorology | " + " | ".join(f"{m} min: degrees | m" for m in MINUTES) + " |")
    print("|---" * (1 + 2 * len(MINUTES)) + "|")
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.meteorologies:
            cells = []
            for found in errors(name, options.places, Path(scratch)).values():
                for values, scale, digits in ((found[:, 0], 1e4, 1), (found[:, 1], 1.0, 3)):
                    cells.append(", ".join(f"{q * scale:.{digits}f}" for q in np.quantile(values, (0.5, 0.95, 1.0))))
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
