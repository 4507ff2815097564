"""What the native engine takes of transport's settings: each is honoured, without meaning for it, or must be as it is.

One table, in which every setting of HYSPLIT stands once. What the engine does not know is refused when a scene is
added, by the setting's name: hycs_std has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import Any, Protocol

#: Version of the native engine, which is part of what makes its particles: raised when they come out otherwise.
NATIVE_VERSION = "native 1"

#: Page that says what the engine computes, and where it differs from hycs_std.
NATIVE_PAGE = "docs/explanation/native-engine.md"

#: Settings the engine does as hycs_std does, whatever their value.
HONOURED = frozenset({"n_hours", "numpar", "seed", "z_top", "ziscale", "hnf_plume", "veght"})

#: Settings that change nothing here, whatever their value, and why: with STILT's own they change nothing in hycs_std.
WITHOUT_MEANING = {
    **dict.fromkeys(
        ("conage", "frhmax", "frhs", "frme", "frmr", "frts", "frvs", "kpuff", "krnd", "kspl", "splitf"),
        "of puffs, and particles are none",
    ),
    **dict.fromkeys(("cmass", "cpack", "nbptyp"), "of the concentration grid, which nothing reads"),
    **dict.fromkeys(("kagl", "mhrs", "nstr", "nver", "tout"), "of trajectories of single parcels"),
    **dict.fromkeys(("dxf", "dyf", "dzf"), "of ensembles of meteorology"),
    **dict.fromkeys(("ncycl", "ndump", "poutf"), "of dumps of particles, which nothing reads"),
    **dict.fromkeys(("ninit", "khinp"), "of particles read from a file, and none are"),
    **dict.fromkeys(("kwet", "rhb", "rht"), "of wet deposition"),
    **dict.fromkeys(("wbbh", "wbwf", "wbwr"), "of fixed vertical velocities, which w_option asks for"),
    **dict.fromkeys(("tkerd", "tkern"), "of turbulence made of TKE, which kblt asks for"),
    "mgmin": "of how much meteorology is read at a time: all of it is in memory",
    "p10f": "of dust",
    "tvmix": "of kzmix",
    "vscaleu": "not used where vscales is -1",
}

#: Settings the engine knows some values of, and these.
KNOWN_VALUES: dict[str, tuple[Any, ...]] = {
    "capemin": (-1.0,),  # others are convection
    "delt": (1.0,),
    "efile": ("",),
    "emisshrs": (0.01,),
    "ichem": (8,),
    "idsp": (2,),
    "initd": (0,),  # others are puffs
    "k10m": (1,),
    "kbls": (1, 2),
    "kblt": (5,),
    "kdef": (0,),
    "khmax": (9999,),
    "krand": (2,),
    "kzmix": (0,),
    "maxdim": (1,),
    "nturb": (0,),
    "outdt": (0,),
    "pinbc": ("",),
    "pinpf": ("",),
    "qcycle": (0.0,),
    "tratio": (0.75,),
    "vscale": (200.0,),
    "vscales": (-1.0,),
    "w_option": (0,),
    "wvert": (False,),
    **dict.fromkeys(("siguverr", "tluverr", "zcoruverr", "horcoruverr"), (None,)),  # errors of winds
    **dict.fromkeys(("sigzierr", "tlzierr", "horcorzierr"), (None,)),  # errors of the mixed layer
}

#: Particle variables the engine gives, by the names of ``varsiwant``.
VARIABLES = frozenset({"time", "indx", "long", "lati", "zagl", "foot", "mlht", "dens", "samt", "sigw", "tlgr", "zsfc"})


class Settings(Protocol):
    """What is asked of transport's settings by name; others are looked up in the tables."""

    experimental: bool
    seed: int | str
    varsiwant: list[str]
    numpar: int
    maxpar: int | None
    kmixd: int


def _unknown_variables(settings: Settings) -> str:
    unknown = [name for name in settings.varsiwant if name not in VARIABLES]
    return f"varsiwant {', '.join(unknown)}" if unknown else ""


def _too_few_kept(settings: Settings) -> str:
    """Refuse a ``maxpar`` that would cut off particles; one that does not has no meaning."""
    return f"maxpar below numpar ({settings.maxpar})" if (settings.maxpar or inf) < settings.numpar else ""


def _mixing_height(settings: Settings) -> str:
    """Refuse sources of mixing heights that the user's guide does not name; from 10 on it is the height itself."""
    known = settings.kmixd in (0, 1, 2, 3) or settings.kmixd >= 10
    return "" if known else f"kmixd {settings.kmixd} (it knows 0, 1, 2, 3, and a height of 10 m or more)"


def _at_least(name: str, least: float) -> Callable[[Settings], str]:
    def refused(settings: Settings) -> str:
        value = getattr(settings, name)
        return "" if least <= value < inf else f"{name} {value} (it knows {least:g} or more)"

    return refused


#: Settings of which some values are refused: each gives what is, empty if nothing. Steps of no time have no end.
CONDITIONS: dict[str, Callable[[Settings], str]] = {
    "varsiwant": _unknown_variables,
    "maxpar": _too_few_kept,
    "kmixd": _mixing_height,
    "kmix0": _at_least("kmix0", 0),
    "hscale": _at_least("hscale", 1),
    "tlfrac": _at_least("tlfrac", 0.001),
}


def require_known(settings: Settings) -> None:
    """Refuse settings with which the native engine cannot simulate.

    Raises
    ------
    ValueError
        Unless the scene says that it knows what the engine is; or naming each setting it does not know.
    """
    if not settings.experimental:
        raise ValueError(
            f"engine native may differ from hycs_std ({NATIVE_PAGE} says where): set experimental: true to have it, or "
            "leave engine out"
        )
    if unknown := list(_unknown(settings)):
        raise ValueError(f"engine native does not know {'; '.join(unknown)}: engine: hysplit has it")


def _unknown(settings: Settings) -> Iterator[str]:
    """Yield what of the settings the engine does not know, each with what it knows instead."""
    for name, values in KNOWN_VALUES.items():
        value = getattr(settings, name)
        if value not in values:
            known = " or ".join("none" if v is None else repr(v) for v in values)
            yield f"{name} {value} (it knows {known})"
    for condition in CONDITIONS.values():
        if found := condition(settings):
            yield found
    if settings.seed == "none":
        yield "seed none (it knows receptor, or an integer)"
