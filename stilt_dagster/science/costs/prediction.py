"""What the receptors of a scene are expected to take: CPU and bytes of each product."""

from __future__ import annotations

from dataclasses import dataclass

from stilt_dagster.science.scenes.spec import Scene

#: Bytes of a particle and minute in trajectories.
_ROW_BYTES = 9.0


@dataclass(frozen=True)
class Prediction:
    """What a scene is expected to take.

    Attributes
    ----------
    cpu_seconds : float
        CPU of simulating and gridding all receptors, s.
    trajectories, footprints, jacobian : float
        Bytes of each product.
    """

    cpu_seconds: float
    trajectories: float
    footprints: float
    jacobian: float


def predict(scene: Scene) -> Prediction:
    """Return what a scene is expected to take."""
    n, transport = len(scene.receptor_list), scene.transport
    rows = transport.numpar * abs(transport.n_hours) * 60
    return Prediction(n * transport.predicted_cpu, n * rows * _ROW_BYTES, n * rows * 2.7, n * rows * 1.35)
