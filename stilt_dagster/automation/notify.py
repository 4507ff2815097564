"""Messages to people: a webhook, e-mail, Slack or whatever else Apprise knows, by the URLs of ``STILT_ALERTS``.

The URLs hold tokens: they are read from the environment, and are in no log, event or message.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from stilt_dagster.settings import alert_services

#: Characters of a message at most: services cut longer ones, or refuse them.
_MOST = 1500


def notify(title: str, text: str) -> str:
    """Send a message to every service that is named; a service that cannot be reached does not stop the others.

    Parameters
    ----------
    title : str
        One line.
    text : str
        What happened, and what to do.

    Returns
    -------
    str
        What could not be sent and why; empty if all was, or no service is named.
    """
    services = alert_services()
    if not services:
        return ""
    try:
        from apprise import Apprise, NotifyFormat
    except ModuleNotFoundError:
        return "STILT_ALERTS is set, and Apprise is not installed: pip install 'stilt_dagster[alerts]'"
    unknown = failed = 0
    with _silent("apprise", "urllib3"):
        for url in services:
            sender = Apprise()
            if not sender.add(url):
                unknown += 1
            elif not sender.notify(title=title, body=text[:_MOST], body_format=NotifyFormat.TEXT):
                failed += 1
    problems = [f"{unknown} of {len(services)} services of STILT_ALERTS are none Apprise knows"] if unknown else []
    problems += [f"{failed} of {len(services)} services of STILT_ALERTS did not take the message"] if failed else []
    return "; ".join(problems)


@contextmanager
def _silent(*names: str) -> Iterator[None]:
    """Keep libraries from logging the URLs they ask for."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
