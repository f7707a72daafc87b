"""Images of SMV files: detector, beam, and what a count is worth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zocelery.errors import ImageError
from zocelery_tasks.images.beam import Beam
from zocelery_tasks.images.detector import Detector, SensorType, TrustedRange
from zocelery_tasks.images.image import Image, Photons, PixelBuffers
from zocelery_tasks.images.masks import Mask, all_usable
from zocelery_tasks.images.panel import Panel
from zocelery_tasks.images.smv import SmvFile, SmvHeader, parse_smv

_SATURATED = 65535
_KNOWN_BY_DIALS = {442, 445, 458, 905, 914, 926}
"""Serial numbers of ADSC detectors with a header of their own."""
_KEYS_OF_OTHERS = ("DTREK_DATE_TIME", "DETECTOR_NAMES")
"""In the headers of Rigaku's detectors."""
_SIMULATED = "fake"
"""BEAMLINE of James Holton's simulated images."""
_PILATUS_PIXEL = 0.172

_MODELS = {
    (2304, 0.0816): "Q4",
    (4096, 0.0512): "Q210",
    (2048, 0.1024): "Q210",
    (6144, 0.0512): "Q315",
    (3072, 0.1024): "Q315",
    (4168, 0.0648): "Q270",
    (2084, 0.0324): "Q270",
}
"""By pixels of a side and their size in mm."""
_MODELS_BY_NUMBER = {
    **dict.fromkeys((401, 402, 414, 423, 428, 429), "Q4"),
    **dict.fromkeys((441, 442, 443, 444, 445, 446, 447, 448, 901), "Q210"),
    **dict.fromkeys((471, 472, 474), "Q270"),
    **dict.fromkeys((905, 913, 925), "Q315"),
    **dict.fromkeys((457,), "Q210R"),
    **dict.fromkeys((907, 917, 923, 926, 928, 931, 933), "Q315R"),
}
_GAINS = {"Q4": 1.25, "Q270": 2.8}
_USUAL_GAIN, _BINNED_GAIN = 2.4, 1.8
"""Of the Q210 and the Q315, and of their R models with pixels binned by hardware."""


@dataclass(frozen=True)
class _Counting:
    """(counts - pedestal) / gain are photons."""

    gain: float
    pedestal: int


def smv_image(
    file: Path, content: bytes, image_number: int, buffers: PixelBuffers | None
) -> Image:
    """Return the image of a SMV file.

    Where a count is not a photon, the pixels come as photons.

    Args:
        file: for messages.
        content: of the file.
        image_number: what to call it.
        buffers: where the pixels go; a new array if not given.

    Raises:
        ImageError: if the file is truncated, lacks what is needed, or is of a detector
            that only DIALS knows.
    """
    smv = parse_smv(file, content)
    header = smv.header
    _refuse_others(header)
    is_simulated = header.get("BEAMLINE") == _SIMULATED
    counting = _simulated_counting(header) if is_simulated else _counting(smv)
    panel = _simulated_panel(smv) if is_simulated else _panel(header)
    trusted = _trusted(smv, counting, is_simulated)
    is_pilatus = is_simulated and panel.pixel_size[0] == _PILATUS_PIXEL
    is_photons = counting.gain == 1 and counting.pedestal == 0
    detector = Detector(
        panels=(panel,),
        shape=smv.shape,
        trusted=trusted,
        sensor=SensorType.PAD if is_pilatus else SensorType.CCD,
        mask=all_usable(smv.shape) if is_photons else _usable(smv, trusted),
    )
    pixels = smv.pixels(buffers) if is_photons else _photons(smv, counting, buffers)
    beam = Beam(header.positive("WAVELENGTH"))
    return Image(file, image_number, pixels, detector, beam)


def _refuse_others(header: SmvHeader) -> None:
    """Raise ImageError for detectors with headers of their own kind."""
    beamline = header.get("BEAMLINE", "")
    others = [key for key in _KEYS_OF_OTHERS if key in header]
    if beamline.upper() == "TIMEPIX_SU":
        others.append(f"BEAMLINE={beamline}")
    if _serial_number(header) in _KNOWN_BY_DIALS:
        others.append(f"DETECTOR_SN={header['DETECTOR_SN']}")
    if others:
        raise ImageError(
            f"{header.file}: SMV files with {others[0]} are only known to DIALS: "
            "the backend dials reads them"
        )
    if header.number("TWOTHETA", 0.0):
        raise ImageError(
            f"{header.file}: TWOTHETA is {header['TWOTHETA']}: detectors that are "
            "swung away are not supported in SMV files"
        )


def _serial_number(header: SmvHeader) -> int | None:
    try:
        return int(header["DETECTOR_SN"])
    except (KeyError, ValueError):
        return None


def _panel(header: SmvHeader) -> Panel:
    """Return the panel; the beam's x runs along slow, y along fast, as in Mosflm."""
    size = header.positive("PIXEL_SIZE")
    along_slow, along_fast = (
        header.number("BEAM_CENTER_X"),
        header.number("BEAM_CENTER_Y"),
    )
    return _upright(header.positive("DISTANCE"), along_fast, along_slow, size)


def _simulated_panel(smv: SmvFile) -> Panel:
    """Return the panel; the beam's x runs along fast, y against slow, as in ADXV."""
    header = smv.header
    size = header.positive("PIXEL_SIZE")
    along_fast = header.number("BEAM_CENTER_X") + size
    height = size * smv.shape[0]
    along_slow = height - header.number("BEAM_CENTER_Y") + size
    return _upright(header.positive("DISTANCE"), along_fast, along_slow, size)


def _upright(
    distance: float, along_fast: float, along_slow: float, size: float
) -> Panel:
    """Return a panel at right angles to the beam; all in mm."""
    return Panel(
        fast_axis=(1.0, 0.0, 0.0),
        slow_axis=(0.0, -1.0, 0.0),
        origin=(-along_fast, along_slow, -distance),
        pixel_size=(size, size),
    )


def _simulated_counting(header: SmvHeader) -> _Counting:
    return _Counting(1.0, header.whole("ADC_OFFSET", 1))


def _counting(smv: SmvFile) -> _Counting:
    header = smv.header
    gain = header.positive("GAIN") if "GAIN" in header else _usual_gain(smv)
    return _Counting(gain, header.whole("IMAGE_PEDESTAL", 0))


def _usual_gain(smv: SmvFile) -> float:
    """Return the gain of ADSC's detectors, 1 for those that are not known."""
    header = smv.header
    slow, fast = smv.shape
    number = _serial_number(header) if "DATE" in header else None
    model = _MODELS_BY_NUMBER.get(number or 0, "")
    if not model and slow == fast:
        model = _MODELS.get((fast, header.positive("PIXEL_SIZE")), "")
    if model in _GAINS:
        return _GAINS[model]
    is_binned = header.get("BIN", "NONE").upper() != "NONE"
    if model.endswith("R") and is_binned and header.get("BIN_TYPE") == "HW":
        return _BINNED_GAIN
    return _USUAL_GAIN if model else 1.0


def _trusted(smv: SmvFile, counting: _Counting, is_simulated: bool) -> TrustedRange:
    saturated = float(_SATURATED)
    if smv.dtype.itemsize > 2:
        highest = np.iinfo(smv.dtype).max
        saturated = smv.header.number("CCD_IMAGE_SATURATION", highest)
    lowest = 0 if is_simulated else -counting.pedestal
    return TrustedRange(
        lowest=lowest,
        saturation=saturated - counting.pedestal,
        saturation_is_lost=True,
    )


def _usable(smv: SmvFile, trusted: TrustedRange) -> Mask:
    lowest, highest = trusted.limits()
    mask: Mask = (smv.stored >= lowest) & (smv.stored <= highest)
    return mask


def _photons(
    smv: SmvFile, counting: _Counting, buffers: PixelBuffers | None
) -> Photons:
    photons = (buffers or PixelBuffers()).take_photons(smv.shape)
    np.subtract(smv.stored, float(counting.pedestal), out=photons)
    photons /= counting.gain
    return photons
