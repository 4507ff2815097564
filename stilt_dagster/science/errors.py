"""What can go wrong for a user, each as one line that says what, where, and what to do."""

from __future__ import annotations

from enum import StrEnum


def counted(n: int, noun: str) -> str:
    """Return a number of things as messages say it: ``1 receptor``, ``2 receptors``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


class UserError(Exception):
    """The base of every error whose message is meant for the person at the terminal or in the UI.

    The message is one line: what is wrong, where, and what to do about it. The command line prints it
    without a traceback and exits with code 2; an asset shows it as the reason its run failed.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))


class SettingError(UserError):
    """An environment variable has a value that means nothing."""


class SceneError(UserError):
    """A scene's spec, or a file it names, is not usable."""


class RetrievalError(UserError):
    """A retrieval's file, or what is configured for it, cannot be used."""


class UnreadableError(RetrievalError):
    """A retrieval's file cannot be opened: it may be on its way still, or damaged."""


class CampaignError(UserError):
    """A campaign is not there, or its file is not usable."""


class BackgroundError(UserError):
    """A concentration field cannot be used, or does not cover the scene."""


class FluxError(UserError):
    """A field of fluxes cannot be used, or does not cover the scene."""


class MeteorologyError(UserError):
    """The meteorology is missing, incomplete, damaged, or does not cover the scene."""


class EngineError(UserError):
    """HYSPLIT cannot run on this machine or with this meteorology."""


class NoEngineError(EngineError):
    """There is no HYSPLIT for this machine: what needs no new trajectories of it can be done."""


class StoreError(UserError):
    """The store cannot be read or written."""


class StoreUnavailable(StoreError):
    """The store does not answer as it should, after many tries: what was to be done may be done later."""


class IncompleteError(UserError):
    """What a step needs from the step before it is missing or was made with other inputs."""


class JacobianError(UserError):
    """A jacobian's file cannot be used, several cannot be one matrix, or what is asked of a matrix is not in it."""


class FormatError(UserError):
    """A file is of a format this version does not read: a later one wrote it, or it is another kind of file.

    Parameters
    ----------
    where : object
        The file.
    found, known : str
        What it is, and what is read.
    """

    def __init__(self, where: object, found: str, known: str) -> None:
        self.found, self.known = found, known
        kinds = (found.partition("/")[0], known.partition("/")[0])
        way = "upgrade stilt_dagster" if kinds[0] == kinds[1] else "name another file, or remove it and make it again"
        super().__init__(f"{where} is of format {found}, and this version reads {known}: {way}")


class DamagedError(UserError):
    """A file of the store that looked whole is damaged inside."""


class RunFailedError(UserError):
    """A run failed although its input can be used: more receptors failed than the scene may lose."""


class Reason(StrEnum):
    """Why the simulation of one receptor failed."""

    #: The meteorology ended, in time or in space, before the run did; a seeded run repeats it.
    MET_COVERAGE = "MET_COVERAGE"
    #: HYSPLIT wrote no particles; a seeded run repeats it.
    NO_PARTICLE_DATA = "NO_PARTICLE_DATA"
    #: The run took longer than the scene's ``timeout``.
    TIMEOUT = "TIMEOUT"
    #: hycs_std ended without saying ``Complete Hysplit``: killed, out of memory, or crashed.
    INCOMPLETE = "INCOMPLETE"
    #: HYSPLIT stopped on an error of its own (a setting or a meteorology record it cannot use).
    HYSPLIT_ERROR = "HYSPLIT_ERROR"


#: Reasons that another attempt may not meet again.
TRANSIENT = frozenset({Reason.TIMEOUT, Reason.INCOMPLETE})


class SimulationFailed(Exception):
    """The simulation of one receptor failed; the scene goes on without it.

    Parameters
    ----------
    reason : Reason
        The kind of failure.
    message : str
        One line for a person.
    log : str
        The tail of HYSPLIT's log.
    """

    def __init__(self, reason: Reason, message: str, log: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.log = log[-2000:]


class Interrupted(BaseException):
    """The run was told to stop; unfinished simulations were ended and left undone."""
