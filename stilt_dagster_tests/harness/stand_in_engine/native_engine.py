"""A stand-in for the native engine, whose agreement with hycs_std is known: hycs_std itself, with a seed of its own."""

from __future__ import annotations

import os

from stilt_dagster.science.meteorology.description import Meteorology
from stilt_dagster.science.scenes.engines.native import NATIVE_VERSION
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.particles import Particles


class NativeEngine(Hysplit):
    """hycs_std with another seed than the check's, whose influence is ``STAND_IN_FACTOR`` times its own."""

    version = NATIVE_VERSION

    def run(self, receptor: Receptor, settings: TransportSettings, meteorology: Meteorology) -> Particles:
        """Simulate as hycs_std does, with influence that is wrong by a factor."""
        particles = super().run(receptor, settings.reference(receptor, 7), meteorology)
        particles.columns["foot"] = particles.columns["foot"] * float(os.environ.get("STAND_IN_FACTOR", "1"))
        return particles
