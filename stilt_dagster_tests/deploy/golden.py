"""The manifests of ``golden/``: ``python -m stilt_dagster_tests.deploy.golden`` renders the chart and writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stilt_dagster_tests.conftest import ROOT
from stilt_dagster_tests.harness.helm import render_text

ENVIRONMENTS = ("dev", "prod")
GOLDEN = Path(__file__).with_name("golden")


def terraform_values(environment: str) -> dict[str, Any]:
    """Return values as Terraform's output ``helm_values`` gives them, and images as ``deploy/deploy`` does."""
    registry = "europe-west1-docker.pkg.dev/some-project/stilt"
    return {
        "images": {
            "worker": f"{registry}/worker@sha256:{'a' * 64}",
            "web": f"{registry}/web@sha256:{'b' * 64}",
        },
        "store": {"url": f"gs://some-project-stilt-{environment}/store"},
        "maxCores": {"dev": 50, "prod": 500}[environment],
        "database": {
            "host": "10.20.0.3",
            "port": 5432,
            "name": "dagster",
            "user": "dagster",
            "ca": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        },
        "gke": {"databaseSecret": f"projects/some-project/secrets/stilt-{environment}-database/versions/1"},
        "network": {"apiServer": ["10.10.0.2/32"]},
    }


def values_file(environment: str) -> Path:
    """Return the file of an environment's own values."""
    return ROOT / "deploy" / "values" / f"{environment}.yaml"


def rendered(environment: str) -> str:
    """Return an environment's manifests."""
    return render_text(values_file(environment), terraform_values(environment))


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in ENVIRONMENTS:
        (GOLDEN / f"{name}.yaml").write_text(rendered(name))
