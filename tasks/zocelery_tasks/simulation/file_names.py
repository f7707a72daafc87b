"""The names of a simulated scan's files."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from zocelery.errors import InputFileError

_OURS = r"(\.nxs|_meta\.h5|_\d{6}\.h5|_\d{5,6}\.cbf|_truth\.json|_truth\.npz)"


@contextmanager
def appearing_whole(path: Path) -> Iterator[Path]:
    """Yield a hidden name beside `path`, renamed to it when all has been written."""
    hidden = path.with_name(f".{path.name}.part")
    try:
        yield hidden
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)


@dataclass(frozen=True)
class FileNames:
    """All files of one scan."""

    folder: Path
    stem: str

    @property
    def master(self) -> Path:
        """The NXmx file that describes the experiment."""
        return self.folder / f"{self.stem}.nxs"

    @property
    def meta(self) -> Path:
        """The HDF5 file with the mask."""
        return self.folder / f"{self.stem}_meta.h5"

    @property
    def truth(self) -> Path:
        """What an analysis should find."""
        return self.folder / f"{self.stem}_truth.json"

    @property
    def reflections(self) -> Path:
        """Rotation: where every reflection is."""
        return self.folder / f"{self.stem}_truth.npz"

    @property
    def cbf_template(self) -> Path:
        """The CBF files, with %05d for the image number."""
        return self.folder / f"{self.stem}_%05d.cbf"

    def data(self, number: int) -> Path:
        """Return the HDF5 data file `number` (from 1)."""
        return self.folder / f"{self.stem}_{number:06d}.h5"

    def cbf(self, image_number: int) -> Path:
        """Return the CBF file of an image (from 1)."""
        return self.folder / f"{self.stem}_{image_number:05d}.cbf"

    def existing(self) -> list[Path]:
        """Return all files in the folder that have a name of this scan, sorted."""
        if not self.folder.exists():
            return []
        ours = re.compile(re.escape(self.stem) + _OURS)
        return sorted(p for p in self.folder.iterdir() if ours.fullmatch(p.name))

    def refuse_existing(self) -> None:
        """Make sure that no file would be replaced.

        Raises:
            InputFileError: naming the first that would.
        """
        existing = self.existing()
        if existing:
            raise InputFileError(
                f"{existing[0]} exists already; choose another folder or stem, "
                "or overwrite (--overwrite)"
            )

    def make_room(self) -> None:
        """Create the folder, and remove all files that `existing` returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.existing():
            path.unlink()
