"""What stilt_dagster needs, as ranges; requirements.lock holds the exact versions it is tested with."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="stilt_dagster",
    version="0.1.0",
    description="Run the STILT atmospheric transport model for whole satellite scenes, as Dagster assets",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["stilt_dagster", "stilt_dagster.*"]),
    package_data={"stilt_dagster.demo": ["*.yaml"]},
    install_requires=[
        "arlmet==0.1.0b4",
        "dagster>=1.13,<1.14",
        "dagster-gcp>=0.29,<0.30",
        "dagster-k8s>=0.29,<0.30",
        "dagster-postgres>=0.29,<0.30",
        "dagster-webserver>=1.13,<1.14",
        "dask>=2025.1",
        "gcsfs>=2025.2",
        "h5netcdf>=1.6",
        "h5py>=3.12",
        "matplotlib>=3.9",
        "netCDF4>=1.7",
        "numba>=0.61",
        "numpy>=2.0",
        "pandas>=2.2,<3",
        "pyarrow>=18",
        "pydantic>=2.10",
        "pyproj>=3.7",
        "pystilt==0.1.0a25",
        "PyYAML>=6.0",
        "rich>=13",
        "s3fs>=2025.2",
        "scipy>=1.14",
        "typer>=0.15",
        "universal-pathlib>=0.2.6",
        "xarray>=2025.1",
    ],
    extras_require={
        "dev": [
            "compliance-checker>=5.1",
            "hypothesis>=6.100",
            "mypy>=1.14",
            "pandas-stubs>=2.2",
            "pre-commit>=4",
            "pytest>=8",
            "ruff>=0.9",
            "setuptools>=75",
            "types-PyYAML>=6.0",
        ]
    },
    entry_points={"console_scripts": ["stilt-dagster = stilt_dagster.cli:main"]},
)
