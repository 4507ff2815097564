"""``stilt-dagster``: what people do with scenes from a terminal. Everything here the UI can do too.

Exit codes: 0 done; 1 a run, or receptors of it, failed; 2 the input, the settings or the machine need fixing; 130
interrupted: what is finished is kept.

Commands import what they need when they are called: a list of scenes should not wait for the libraries of a run.
"""

from __future__ import annotations

import gc


def main() -> None:
    """Run the command line."""
    # A command is mostly imports, whose objects all stay: looking for garbage among them took a seventh of its CPU.
    gc.set_threshold(100_000, 20, 20)
    from stilt_dagster.cli.app import run

    try:
        run()
    finally:
        gc.freeze()  # or the interpreter looks through all of them once more before it ends
