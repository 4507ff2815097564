"""What is asked of another machine once more, and when that is given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from google.api_core.exceptions import RetryError
from google.api_core.retry import Retry

from stilt_dagster.science.errors import StoreUnavailable

T = TypeVar("T")


class Again(Exception):
    """What may go better the next time; the message is a few words, without anything the other side sent."""


#: After how long something is tried again, and for how long in all: seconds.
RETRY = Retry(predicate=lambda error: isinstance(error, Again), initial=0.5, maximum=30.0, timeout=600.0)


def persist(doing: str, attempt: Callable[[], T]) -> T:
    """Return what *attempt* does, trying again as long as it raises :class:`Again`.

    Parameters
    ----------
    doing : str
        Begins the error: what cannot be done, and with what.
    attempt : callable
        Tries once.

    Raises
    ------
    StoreUnavailable
        If it has not gone better in all that time.
    """
    try:
        return RETRY(attempt)()
    except RetryError as error:
        raise StoreUnavailable(
            f"{doing}: no answer as it should be for {RETRY.timeout:.0f} s ({error.cause}): run it again later"
        ) from error
