"""A user's error as Dagster shows it: the reason a run failed, on the run's page."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from stilt_dagster.science.errors import StoreUnavailable, UserError


@contextmanager
def user_errors_as_failures() -> Iterator[None]:
    """Turn a :class:`UserError` into a failure described by its message.

    A store that does not answer is asked again by the same run, in the same pod, a minute later and up to five times;
    nothing else is fixed by another try.
    """
    try:
        yield
    except UserError as error:
        failure = dg.Failure(str(error), allow_retries=False)
        if isinstance(error, StoreUnavailable):
            raise dg.RetryRequested(max_retries=5, seconds_to_wait=60) from failure  # described as the failure is
        raise failure from error
