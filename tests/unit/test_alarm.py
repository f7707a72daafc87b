"""The alarm for tasks that hang."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from zocelery.alarm import ended_after

HANGS = """
import ctypes
from zocelery.alarm import ended_after

with ended_after({seconds}):
    ctypes.PyDLL(None).sleep(60)  # in C, the interpreter held
"""


def test_a_process_that_hangs_in_c_is_ended():
    hung = subprocess.run(
        [sys.executable, "-c", HANGS.format(seconds=0.2)], check=False, timeout=50
    )
    assert hung.returncode == -signal.SIGALRM


def remaining() -> float:
    return signal.getitimer(signal.ITIMER_REAL)[0]


@pytest.fixture
def _other_alarm() -> Iterator[None]:
    """An alarm of somebody else's, far away."""
    before = signal.setitimer(signal.ITIMER_REAL, 5000)
    yield
    signal.setitimer(signal.ITIMER_REAL, *before)


@pytest.mark.usefixtures("_other_alarm")
def test_leaving_in_time_brings_back_what_was_set_before():
    handler = signal.getsignal(signal.SIGALRM)
    with ended_after(60):
        assert 0 < remaining() <= 60
        assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    assert 4000 < remaining() <= 5000
    assert signal.getsignal(signal.SIGALRM) == handler


@pytest.mark.usefixtures("_other_alarm")
def test_an_error_disarms_the_alarm_too():
    with pytest.raises(OSError, match="no such"), ended_after(60):
        raise OSError("no such file")
    assert remaining() > 4000


@pytest.mark.usefixtures("_other_alarm")
def test_other_threads_and_a_limit_of_zero_arm_nothing():
    found = []

    def look(seconds: float) -> None:
        with ended_after(seconds):
            found.append(remaining())

    thread = threading.Thread(target=look, args=(60,))
    thread.start()
    thread.join()
    look(0)
    assert all(seconds > 4000 for seconds in found)
    assert len(found) == 2
