"""Processes that work for another one, which started them."""

from __future__ import annotations

import os
import signal
import sys
import time
from threading import Thread

if sys.platform == "win32":  # it tells of no parent that ended
    from multiprocessing import parent_process

_SURVIVAL_S = 1.0


def follow(caller: int) -> None:
    """Leave signals to the caller, and end this process when it does, however it ends.

    No file says so: not every file system has locks, and a file can be deleted.

    Args:
        caller: Number of the process that started this one.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

    def end_with_caller() -> None:
        if sys.platform == "win32":
            parent = parent_process()
            if parent is not None:
                parent.join()
        else:
            while os.getppid() == caller:
                time.sleep(_SURVIVAL_S)
        os._exit(1)

    Thread(target=end_with_caller, daemon=True).start()
