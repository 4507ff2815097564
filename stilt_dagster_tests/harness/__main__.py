"""Everything production has, on this machine, until Ctrl-C: ``python -m stilt_dagster_tests.harness``.

A Kubernetes control plane with a node whose pods are local processes, object storage, and Postgres. What to export, to
use them from another shell, is printed and is in the file ``env`` of the directory.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from stilt_dagster_tests.harness.control_plane import ControlPlane
from stilt_dagster_tests.harness.gcs import GcsServer
from stilt_dagster_tests.harness.postgres import Postgres
from stilt_dagster_tests.harness.process_node import ProcessNode
from stilt_dagster_tests.harness.processes import Unavailable

BUCKET = "stilt"


def main() -> int:
    """Start, tell, wait, end."""
    parser = argparse.ArgumentParser(prog="python -m stilt_dagster_tests.harness", description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, help="for logs and data; a temporary one, if not given")
    parser.add_argument("--cpu", default=str(os.cpu_count() or 1), help="cores the node declares (%(default)s)")
    parser.add_argument("--memory", default="32Gi", help="memory the node declares (%(default)s)")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a script started it, with the first ignored
        signal.signal(number, signal.default_int_handler)
    try:
        with contextlib.ExitStack() as stack:
            directory = arguments.directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster-")))
            directory = directory.resolve()
            directory.mkdir(parents=True, exist_ok=True)
            env = start(stack, directory, arguments.cpu, arguments.memory)
            lines = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items())
            (directory / "env").write_text(lines)
            print(lines, end="", flush=True)
            print(f"\nready: `. {directory / 'env'}`; Ctrl-C ends it", file=sys.stderr, flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except (Unavailable, TimeoutError) as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 2
    return 0


def start(stack: contextlib.ExitStack, directory: Path, cpu: str, memory: str) -> dict[str, str]:
    """Start everything, to be ended with *stack*, and return what to export."""
    if "KUBE_BIN" not in os.environ:
        build = subprocess.run(
            [Path(__file__).with_name("build_kubernetes.sh")], stdout=subprocess.DEVNULL, check=False
        )
        if build.returncode:
            raise Unavailable("no Kubernetes; KUBE_BIN may name a directory that has it")
    storage = stack.enter_context(GcsServer(BUCKET))
    postgres = stack.enter_context(Postgres())
    plane = stack.enter_context(ControlPlane(directory / "control-plane"))
    stack.enter_context(ProcessNode(plane.kubeconfig, cpu=cpu, memory=memory, directory=directory / "node"))
    return {
        "KUBECONFIG": str(plane.kubeconfig),
        "STORAGE_EMULATOR_HOST": storage.url,
        "STILT_STORE": f"gs://{BUCKET}/store",
        **postgres.env,
    }


if __name__ == "__main__":
    sys.exit(main())
