"""The detectors that can be simulated: sizes, modules and names as manufactured."""

from dataclasses import dataclass
from enum import StrEnum

from zocelery.errors import ParameterError


class Family(StrEnum):
    """Which header a CBF of the detector has."""

    EIGER = "eiger"
    PILATUS = "pilatus"
    GENERIC = "generic"
    """No product: recognised by dxtbx through the convention GENERIC_MINI."""


@dataclass(frozen=True)
class Detector:
    """A flat photon-counting detector made of equal modules with dead gaps between.

    Sizes are (slow, fast), in pixels.
    """

    name: str
    description: str
    """As in the NeXus field `detector/description`."""
    header_name: str
    """As in the line `# Detector:` of a miniCBF."""
    family: Family
    modules: tuple[int, int]
    """How many there are along each side."""
    module: tuple[int, int]
    gap: tuple[int, int]
    pixel_mm: float
    usual_distance_mm: float
    """Where the lysozyme crystal's spots fill the detector."""
    sensor_mm: float = 0.45
    """Thickness of the silicon."""

    @property
    def shape(self) -> tuple[int, int]:
        """Modules with the gaps between them."""
        slow, fast = (
            n * (size + gap) - gap
            for n, size, gap in zip(self.modules, self.module, self.gap, strict=True)
        )
        return slow, fast

    @property
    def pixels(self) -> int:
        """Pixels in all, gaps included."""
        return self.shape[0] * self.shape[1]


def _eiger2(size: str, modules: tuple[int, int], distance: float, n: int) -> Detector:
    return Detector(
        name=f"eiger2_{size.lower()}",
        description=f"Eiger2 X {size}",
        header_name=f"EIGER2 {size}, S/N E-01-{n:04d}",
        family=Family.EIGER,
        modules=modules,
        module=(512, 1028),
        gap=(38, 12),
        pixel_mm=0.075,
        usual_distance_mm=distance,
    )


def _pilatus3(size: str, modules: tuple[int, int], distance: float) -> Detector:
    return Detector(
        name=f"pilatus3_{size.lower()}",
        description=f"Pilatus3 X {size}",
        header_name=f"PILATUS3 {size}, S/N 10-0001",
        family=Family.PILATUS,
        modules=modules,
        module=(195, 487),
        gap=(17, 7),
        pixel_mm=0.172,
        usual_distance_mm=distance,
    )


_SMALL_MODULE = Detector(
    name="test_128k",
    description="Simulated module 128k",
    header_name="GENERIC 128k, S/N 00-0001",
    family=Family.GENERIC,
    modules=(1, 1),
    module=(256, 512),
    gap=(0, 0),
    pixel_mm=0.150,
    usual_distance_mm=45.0,
)

DETECTORS = {
    detector.name: detector
    for detector in (
        _eiger2("1M", modules=(2, 1), distance=65.0, n=1),
        _eiger2("4M", modules=(4, 2), distance=140.0, n=2),
        _eiger2("16M", modules=(8, 4), distance=220.0, n=3),
        _pilatus3("1M", modules=(5, 2), distance=140.0),
        _pilatus3("2M", modules=(8, 3), distance=200.0),
        _pilatus3("6M", modules=(12, 5), distance=300.0),
        _SMALL_MODULE,
    )
}
"""By name. `test_128k` is a small single module for quick tests."""


def find_detector(name: str) -> Detector:
    """Return the detector called `name`.

    Raises:
        ParameterError: if there is none; the message lists the known ones.
    """
    if name not in DETECTORS:
        known = ", ".join(DETECTORS)
        raise ParameterError(f"unknown detector {name!r}; known: {known}")
    return DETECTORS[name]
