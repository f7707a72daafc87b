"""Alarm: ends the process of a task that hangs where no exception can reach it.

A damaged HDF5 file can hold the library, and with it the interpreter, for ever. The
kernel then ends the process; its message is delivered again, and parked as poison when
that has happened often enough.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """End this process by SIGALRM unless the block is left within `seconds`.

    Does nothing outside of a process's main thread, where other work goes on beside
    the task, or if `seconds` is 0.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not seconds or not is_main:
        yield
        return
    handler = signal.getsignal(signal.SIGALRM)
    if handler is not signal.SIG_DFL:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if handler is not signal.SIG_DFL:
            signal.signal(signal.SIGALRM, handler)
        if remaining:
            signal.setitimer(signal.ITIMER_REAL, remaining, interval)
