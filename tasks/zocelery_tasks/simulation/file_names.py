"""The names of a simulated scan's files."""

import re
from dataclasses import dataclass
from pathlib import Path

from zocelery.errors import InputFileError

_OURS = r"(\.nxs|_meta\.h5|_\d{6}\.h5|_\d{5,6}\.cbf|_truth\.json|_truth\.npz)"


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
        ours = re.compile(re.escape(self.stem) + _OURS)
        return sorted(p for p in self.folder.iterdir() if ours.fullmatch(p.name))

    def make_room(self, overwrite: bool) -> None:
        """Create the folder, and remove what is in the way if that is allowed.

        Raises:
            InputFileError: if files exist and `overwrite` is False.
            OSError: if the folder cannot be made or read.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        existing = self.existing()
        if existing and not overwrite:
            raise InputFileError(
                f"{existing[0]} exists already; choose another folder or stem, "
                "or overwrite (--overwrite)"
            )
        for path in existing:
            path.unlink()
