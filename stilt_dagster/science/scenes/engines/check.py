"""At which receptors of a scene the native engine is held against hycs_std."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

#: Share of receptors that are checked where a scene does not say, and how many are at least, if there are so many.
DEFAULT_SHARE, _LEAST = 0.02, 3

#: Runs of hycs_std at each of them: what two seeds of its own differ by is the measure of what native differs by.
CHECK_RUNS = 2


def count_checked(share: float, receptors: int) -> int:
    """Return at how many of some receptors the engine is checked, a share being asked for; 0 of none."""
    return min(max(math.ceil(share * receptors), _LEAST), receptors) if share > 0 else 0


def checked_receptors(share: float, ids: Sequence[str]) -> frozenset[str]:
    """Return the receptors at which the engine is checked: the same ones each time, and more of them of a larger share.

    They are those whose ids have the smallest hashes, so that they lie anywhere in a scene.

    Parameters
    ----------
    share : float
        Share of the receptors.
    ids : sequence of str
        Ids of all receptors of the scene.
    """
    count = count_checked(share, len(ids))
    if not count:
        return frozenset()
    by_hash = sorted(ids, key=lambda receptor: (zlib.crc32(f"engine check {receptor}".encode()), receptor))
    return frozenset(by_hash[:count])
