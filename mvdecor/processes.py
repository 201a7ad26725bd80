"""How worker processes are started."""

from __future__ import annotations

import sys
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext


def worker_context() -> ForkServerContext:
    """Starts processes from a server that has imported what this process has of the package, and runs no threads.

    A fork of this process could hang: libraries run threads here (Embree, TensorBoard, OpenMP, CUDA), and a lock that one of
    them holds at that moment stays locked in the child. As with any fresh process, what a worker is given is pickled, and a
    script that starts workers needs `if __name__ == "__main__":`.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(sorted(name for name in sys.modules if name.partition(".")[0] == "mvdecor"))
    return context
