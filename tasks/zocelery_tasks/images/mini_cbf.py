"""DECTRIS's mini CBF headers: `# Detector_distance 0.16000 m` and the like."""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from zocelery.errors import ImageError
from zocelery_tasks.images import barrel
from zocelery_tasks.images.beam import Beam
from zocelery_tasks.images.cbf import CbfFile
from zocelery_tasks.images.detector import Detector, SensorType, TrustedRange
from zocelery_tasks.images.masks import Mask, all_usable
from zocelery_tasks.images.module_gaps import EIGER, EIGER2, PILATUS, mask_of_gaps
from zocelery_tasks.images.panel import Panel

_LINE = re.compile(r"(?m)^#\s*([A-Za-z]\w*)[:=]?[ \t]*[:=]?[ \t]*(.*?)[ \t\r]*$")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_SENSOR = re.compile(r"(?m)^#\s*(\S+)\s+sensor,\s*thickness\s*=?\s*(\S+)\s*m\b")
_MATERIALS = {"Silicon": "Si", "Si": "Si", "CdTe": "CdTe", "GaAs": "GaAs"}
_NO_CUTOFF = 100_000_000
"""Eiger headers from some converters have no Count_cutoff."""
_NO_BARREL_CUTOFF = 1_000_000
_TIME = re.compile(r"(?m)^#\s*(\d{4}[-/]\w{2,3}[-/]\d{2})[T ](\d{2}:\d{2}:\d{2})")


class MiniHeader(Mapping[str, str]):
    """The `# Key value` lines of a header, by key."""

    def __init__(self, file: Path, header: str) -> None:
        self.file = file
        self._text = header
        self._values: dict[str, str] = dict(reversed(_LINE.findall(header)))

    def __getitem__(self, key: str) -> str:
        """Return the text after `key`; KeyError if there is no such line."""
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._values)

    def numbers(self, key: str, count: int = 1) -> list[float]:
        """Return the first `count` numbers after `key`.

        Raises:
            ImageError: if there are fewer, or one is not finite.
        """
        found = [float(text) for text in _NUMBER.findall(self.get(key, ""))]
        if len(found) < count or not all(map(math.isfinite, found[:count])):
            raise ImageError(
                f"{self.file}: header lacks {key}"
                if key not in self
                else f"{self.file}: {key} is {self[key]!r}"
            )
        return found[:count]

    def positive(self, key: str, count: int = 1) -> list[float]:
        """Return the first `count` numbers after `key`, which must be above 0."""
        found = self.numbers(key, count)
        if min(found) <= 0:
            raise ImageError(f"{self.file}: {key} is {self[key]!r}")
        return found

    @property
    def detector_name(self) -> str:
        """What the header calls the detector, in upper case; may be empty."""
        return self.get("Detector", "").upper()

    @property
    def is_pilatus_convention(self) -> bool:
        """Whether the header says that it follows DECTRIS's own convention."""
        return bool(
            re.search(r"(?m)^_array_data.header_convention.*PILATUS", self._text)
        )

    def sensor(self) -> tuple[SensorType, str | None, float | None]:
        """Return the kind of sensor, its material and its thickness in mm."""
        match = _SENSOR.search(self._text)
        if match:
            thickness = float(match[2]) * 1000
            return SensorType.PAD, _MATERIALS.get(match[1], match[1]), thickness
        if "CCD" in self.detector_name or "CCD" in self:
            return SensorType.CCD, None, None
        return SensorType.UNKNOWN, None, None

    def module_gaps(self, shape: tuple[int, int]) -> Mask:
        """Return the mask of the gaps between the modules of the named detector."""
        if "EIGER" in self.detector_name:
            return mask_of_gaps(shape, EIGER2, EIGER)
        if "PILATUS" in self.detector_name or self.is_pilatus_convention:
            return mask_of_gaps(shape, PILATUS)
        return all_usable(shape)

    @property
    def is_barrel(self) -> bool:
        """Whether the detector is the one that is bent round the sample."""
        return barrel.SERIAL_NUMBER in self.get("Detector", "")

    @property
    def time(self) -> datetime | None:
        """When the image was taken, None if the header does not say."""
        match = _TIME.search(self._text)
        if match is None:
            return None
        day = match[1].replace("/", "-")
        month = "%m" if day[5].isdigit() else "%b"
        try:
            taken = datetime.strptime(f"{day} {match[2]}", f"%Y-{month}-%d %H:%M:%S")
        except ValueError:
            return None
        return taken.replace(tzinfo=UTC)


def mini_cbf_geometry(cbf: CbfFile) -> tuple[Detector, Beam]:
    """Return detector and beam of a file whose header has no imgCIF tables.

    The detector stands upright at right angles to the beam, as the format cannot say
    otherwise (a `Detector_2theta` has no axis); so does DIALS.

    Raises:
        ImageError: if the header lacks what is needed.
    """
    header = MiniHeader(cbf.file, cbf.header)
    if header.is_barrel:
        return _barrel_geometry(header, cbf.shape)
    (distance,) = header.positive("Detector_distance")
    (wavelength,) = header.positive("Wavelength")
    size_x, size_y = header.positive("Pixel_size", 2)
    beam_x, beam_y = header.numbers("Beam_xy", 2)
    sensor, material, thickness = header.sensor()
    if "EIGER" in header.detector_name and sensor is SensorType.UNKNOWN:
        sensor = SensorType.PAD
    detector = Detector(
        panels=(
            Panel(
                fast_axis=(1.0, 0.0, 0.0),
                slow_axis=(0.0, -1.0, 0.0),
                origin=(
                    -beam_x * size_x * 1000,
                    beam_y * size_y * 1000,
                    -distance * 1000,
                ),
                pixel_size=(1000 * size_x, 1000 * size_y),
            ),
        ),
        shape=cbf.shape,
        trusted=TrustedRange(lowest=0, saturation=_count_cutoff(header)),
        sensor=sensor,
        sensor_material=material,
        sensor_thickness=thickness,
        mask=header.module_gaps(cbf.shape),
    )
    return detector, Beam(wavelength)


def _barrel_geometry(
    header: MiniHeader, shape: tuple[int, int]
) -> tuple[Detector, Beam]:
    (distance,) = header.numbers("Detector_distance")
    (wavelength,) = header.positive("Wavelength")
    beam_x, beam_y = header.numbers("Beam_xy", 2)
    _, material, thickness = header.sensor()
    name = str(header.file)
    panels = barrel.barrel_panels(shape, 1000 * distance, (beam_x, beam_y), name)
    detector = Detector(
        panels=panels,
        shape=shape,
        trusted=TrustedRange(lowest=0, saturation=_NO_BARREL_CUTOFF),
        sensor=SensorType.PAD,
        sensor_material=material,
        sensor_thickness=thickness,
        mask=barrel.barrel_mask(panels, header.time),
    )
    return detector, Beam(wavelength)


def _count_cutoff(header: MiniHeader) -> float:
    if "Count_cutoff" not in header and "EIGER" in header.detector_name:
        return _NO_CUTOFF
    return header.positive("Count_cutoff")[0]
