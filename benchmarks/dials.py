"""DIALS as a peer: a child process that answers one request after the other."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import hdf5plugin
import numpy as np

from benchmarks.machine import REPOSITORY
from benchmarks.wire import Array, Message, receive, send
from zocelery_tasks.images.dials_rule import DialsRule
from zocelery_tasks.kernels.threshold import Algorithm, DispersionSettings

DIALS_PYTHON = "/usr/bin/python3"
"""Debian's package `dials` is seen by the system's Python only."""


class DialsError(Exception):
    """DIALS died; the message is the end of what it said."""


class Dials:
    """A DIALS process."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
        """Take a child that runs `benchmarks.dials_child`; wait until it is ready.

        Raises:
            DialsError: if it does not start.
        """
        self._process = process
        self._log = log
        self.version: str = self._answer().fields["version"]

    @property
    def rule(self) -> DialsRule:
        """The rule that this version follows where two are known."""
        found = re.search(r"(\d+)\.(\d+)", self.version)
        numbers = tuple(map(int, found.groups())) if found else (0, 0)
        return DialsRule.V3_24 if numbers >= (3, 24) else DialsRule.V3_12

    def ask(self, do: str, arrays: dict[str, Array] | None = None, **f: Any) -> Message:
        """Have something done; see the methods of `dials_child.Peer`.

        Raises:
            DialsError: if it dies of it.
        """
        if self._process.stdin is None:
            raise DialsError("no pipe to DIALS")
        try:
            send(self._process.stdin, Message({"do": do, **f}, arrays or {}))
        except BrokenPipeError as error:
            raise DialsError(self._last_words()) from error
        return self._answer()

    def load(self, image: Array, mask: Array, gain: Any = None) -> None:
        """Hand over an image and which of its pixels are valid, both (slow, fast)."""
        no_gain = np.zeros(0)
        gains = no_gain if gain is None else np.asarray(gain, np.float64).reshape(-1, 1)
        if np.ndim(gain) == 2:
            gains = np.asarray(gain, np.float64)
        self.ask("load", {"image": image, "mask": mask, "gain": gains})

    def threshold(self, settings: DispersionSettings) -> tuple[float, Array]:
        """Find strong pixels; return CPU seconds and flat indices, in raster order."""
        answer = self.ask(
            "threshold",
            extended=settings.algorithm is Algorithm.DISPERSION_EXTENDED,
            kernel=settings.kernel,
            sigma_background=float(settings.sigma_background),
            sigma_strong=float(settings.sigma_strong),
            min_count=settings.min_count,
            global_threshold=float(settings.global_threshold),
        )
        return answer.fields["seconds"], answer.arrays["strong"]

    def spots(self, smallest: int, largest: int) -> tuple[float, Array]:
        """Group the strong pixels that were found; return CPU seconds and the spots.

        A row for each: x0, x1, y0, y1, n_pixels, intensity, its variance, x, y,
        variance of x, of y, peak.
        """
        answer = self.ask("spots", smallest=smallest, largest=largest)
        return answer.fields["seconds"], answer.arrays["spots"]

    def _answer(self) -> Message:
        stream = self._process.stdout
        answer = None if stream is None else receive(stream)
        if answer is None:
            raise DialsError(self._last_words())
        return answer

    def _last_words(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-2000:].strip()


@contextmanager
def open_dials(python: str = DIALS_PYTHON) -> Iterator[Dials | None]:
    """Run DIALS as long as the context lasts; None where it is not installed."""
    with tempfile.TemporaryFile() as log:
        try:
            process = _start(python, log)
        except FileNotFoundError:
            yield None
            return
        with process:
            try:
                yield _ready(process, log)
            finally:
                process.kill()


def _start(python: str, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [python, "-m", "benchmarks.dials_child"],
        cwd=REPOSITORY,
        env={**os.environ, "HDF5_PLUGIN_PATH": hdf5plugin.PLUGIN_PATH},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
    )


def _ready(process: "subprocess.Popen[bytes]", log: IO[bytes]) -> Dials | None:
    try:
        return Dials(process, log)
    except DialsError as error:
        if "No module named" in str(error):
            return None
        raise
