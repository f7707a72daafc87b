"""Looks at files in a process of its own, because a look may hang.

A file server that does not answer stops a process inside the kernel, and HDF5 can hang
on a truncated file. So a watcher asks this process, over pipes, one JSON object per
line in each direction, and kills it when an answer takes too long:

    {"files": [[1, "/x_1.cbf"], [2, "/x_2.cbf"]]}     -> {"present": [1], ...}
    {"hdf5": "/x.nxs", "first": 1, "numbers": [1, 2]} -> {"present": [1], "total": 9}

`python -m zocelery_tasks.file_probe` runs it. Nothing heavy is imported here, and h5py
only when an HDF5 file is asked for.
"""

import ctypes
import errno
import json
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from zocelery.errors import ParameterError

SETTLE_S = 0.015
"""A young file counts as complete when its size has not changed for so long."""
OLD_S = 1.0
"""A file that was changed longer ago than this counts as complete at once."""

_PR_SET_PDEATHSIG = 1
_CBF_HEAD = 1 << 15
_CBF_DATA = b"\x0c\x1a\x04\xd5"
"""Comes before the pixels."""
_CBF_LENGTH = re.compile(rb"X-Binary-Size:\s*(\d+)")


class FileLooker:
    """Looks whether files are there and complete."""

    def __init__(self) -> None:
        """Remember the sizes of young files from one look to the next."""
        self._sizes: dict[str, tuple[int, float]] = {}

    def look(
        self,
        files: Iterable[tuple[int, str]],
        *,
        patient: bool = False,
        allow_empty: bool = False,
    ) -> dict[str, Any]:
        """Return which files are there.

        A file that has not been changed for `OLD_S` is complete if it is not empty
        (or may be). A younger one must be seen to be so, lest it is read while it is
        written: a CBF by the size that its header declares, at once; any other by a
        size that has not changed for `SETTLE_S`, at the next look.

        Args:
            files: number and path of each, in order.
            patient: look at all, instead of up to the first that is not there.
            allow_empty: old files without a byte count as complete.

        Returns:
            `present`: numbers of the complete files; `growing`: whether young
            ones are there but not complete; `why`: what is wrong with the first that
            does not count.
        """
        known, self._sizes = self._sizes, {}
        present: list[int] = []
        growing, why = False, None
        for number, path in files:
            try:
                is_complete = self._is_complete(path, known.get(path), allow_empty)
            except OSError as error:
                why = why or f"{path}: {error.strerror}"
                if patient:
                    continue
                _refresh(path)
                break
            if is_complete:
                present.append(number)
            else:
                growing = growing or path in self._sizes
                why = why or f"{path}: not complete"
        return {"present": present, "growing": growing, "why": why}

    def _is_complete(
        self, path: str, known: tuple[int, float] | None, allow_empty: bool
    ) -> bool:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a file")
        if time.time() - status.st_mtime > OLD_S:
            return status.st_size > 0 or allow_empty
        size, declared = _look_inside(path)
        now = time.monotonic()
        if known is None or known[0] != size:
            known = (size, now)
        self._sizes[path] = known
        if declared is not None:
            return size >= declared
        return size > 0 and now - known[1] >= SETTLE_S


def _look_inside(path: str) -> tuple[int, int | None]:
    """Return a file's size, and the size that it declares to have if it is a CBF.

    The file is opened because that makes a network file system ask its server for the
    size, which `stat` may remember for seconds.
    """
    with Path(path).open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if not path.endswith(".cbf"):
            return size, None
        head = file.read(_CBF_HEAD)
    start = head.find(_CBF_DATA)
    length = _CBF_LENGTH.search(head[:start]) if start >= 0 else None
    return size, length and start + len(_CBF_DATA) + int(length[1])


def _refresh(path: str) -> None:
    """Make a network file system ask its server again for names not there before."""
    with suppress(OSError):
        os.close(os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY))


class Probe:
    """Answers the questions of one watcher."""

    def __init__(self) -> None:
        """Look at nothing yet."""
        self._files = FileLooker()
        self._hdf5: Any = None

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return what is there; any trouble is an answer, too.

        A link out of the allowed folders, the question's `roots`, is `refused`.
        Every answer tells with `took` how many seconds the look took.
        """
        start = time.monotonic()
        try:
            answer = self._look(question)
        except ParameterError as error:
            answer = {"present": [], "refused": str(error)}
        except Exception as error:  # a file may be wrong in any way
            answer = {"present": [], "why": _one_line(error)}
        return {**answer, "took": round(time.monotonic() - start, 6)}

    def _look(self, question: dict[str, Any]) -> dict[str, Any]:
        patient = bool(question.get("patient"))
        if "files" in question:
            return self._files.look(
                question["files"],
                patient=patient,
                allow_empty=bool(question.get("allow_empty")),
            )
        if self._hdf5 is None or self._hdf5.path != question["hdf5"]:
            from zocelery_tasks.hdf5_probe import Hdf5Looker

            roots = [Path(root) for root in question.get("roots", ())]
            self._hdf5 = Hdf5Looker(question["hdf5"], roots)
        return dict(
            self._hdf5.look(question["numbers"], question["first"], patient=patient)
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _die_with_parent() -> None:
    """Be killed when the thread that started this process ends, even if it crashes."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Answer questions from standard input until it is closed."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    probe = Probe()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(probe.answer(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
