"""A user's error as Dagster shows it: the reason a run failed, on the run's page, without retries."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from stilt_dagster.science.errors import UserError


@contextmanager
def explained() -> Iterator[None]:
    """Turn a :class:`UserError` into a failure described by its message."""
    try:
        yield
    except UserError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
