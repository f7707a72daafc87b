"""MiniCBF images: one file per image, with a header as DECTRIS detectors write it.

Byte-offset compression is described in the imgCIF dictionary,
https://www.iucr.org/__data/iucr/cifdic_html/2/cif_img.dic/index.html
(`_array_data.data`, x-CBF_BYTE_OFFSET); the header in DECTRIS's miniCBF specification.
"""

import base64
import hashlib

import numpy as np

from zocelery_tasks.simulation.detector import Family
from zocelery_tasks.simulation.file_names import FileNames, appearing_whole
from zocelery_tasks.simulation.frames import MASKED, SATURATED, Frame
from zocelery_tasks.simulation.scan_plan import (
    ELECTRONVOLT_ANGSTROM,
    START_TIME,
    ScanPlan,
)

_CONVENTION = {
    Family.PILATUS: "PILATUS_1.2",
    Family.EIGER: "PILATUS_1.2",
    Family.GENERIC: "GENERIC_MINI",
}
_ESCAPE = np.int8(-128)
_ESCAPE_TWICE = b"\x00\x80"
"""The two-byte number that says that four bytes follow."""

_MAGIC = b"\x0c\x1a\x04\xd5"
_PADDING = 4095


def compress_byte_offset(frame: Frame) -> bytes:
    """Return a frame as byte offsets; pixels that do not count are -1.

    A difference from the pixel before takes one byte where it fits, else three or
    seven: the byte -128 says that a wider number follows.
    """
    counts = frame.reshape(-1).astype(np.int32)
    counts[counts == MASKED] = -1
    steps = np.diff(counts, prepend=np.int32(0))
    narrow = steps.astype(np.int8)
    is_wide = (narrow != steps) | (narrow == _ESCAPE)
    narrow[is_wide] = _ESCAPE
    wide = np.flatnonzero(is_wide)
    is_two = np.abs(steps[wide]) <= 32767
    two, four = wide[is_two], wide[~is_two]
    bytes_of_two = steps[two].astype("<i2").view(np.uint8)
    bytes_of_four = np.column_stack(
        [
            np.tile(np.frombuffer(_ESCAPE_TWICE, np.uint8), (len(four), 1)),
            steps[four].astype("<i4").view(np.uint8).reshape(len(four), 4),
        ]
    )
    places = np.concatenate([np.repeat(two + 1, 2), np.repeat(four + 1, 6)])
    added = np.concatenate([bytes_of_two, bytes_of_four.reshape(-1)])
    return np.insert(narrow.view(np.uint8), places, added).tobytes()


class CbfFiles:
    """The images of a scan: STEM_00001.cbf ..."""

    def __init__(self, names: FileNames, plan: ScanPlan) -> None:
        """Write into the folder of `names`, which must exist."""
        self._names = names
        self._plan = plan

    def write(self, index: int, blob: bytes) -> None:
        """Write image `index` (0-based), compressed; the file appears complete."""
        path = self._names.cbf(index + 1)
        with appearing_whole(path) as hidden, hidden.open("wb") as file:
            file.write(cbf_header(self._plan, index, blob).encode())
            file.write(_MAGIC + blob + bytes(_PADDING))
            file.write(b"\r\n--CIF-BINARY-FORMAT-SECTION----\r\n;\r\n")


def cbf_header(plan: ScanPlan, index: int, body: bytes) -> str:
    """Return everything before the binary section of image `index` (0-based)."""
    model = plan.geometry.detector
    lines = [
        "###CBF: VERSION 1.5, CBFlib v0.7.8 - simulated",
        "",
        f"data_{plan.stem}_{index + 1:05d}",
        "",
        f'_array_data.header_convention "{_CONVENTION[model.family]}"',
        "_array_data.header_contents",
        ";",
        *(f"# {line}" for line in _experiment_lines(plan, index)),
        ";",
        "",
        "_array_data.data",
        ";",
        *_binary_lines(plan.shape, body),
        "",
        "",
    ]
    return "\r\n".join(lines)


def _experiment_lines(plan: ScanPlan, index: int) -> list[str]:
    """Return the header's description of the experiment."""
    geometry, model = plan.geometry, plan.geometry.detector
    slow, fast = geometry.beam_centre
    pixel = f"{model.pixel_mm * 1e3:g}e-6 m"
    threshold = ELECTRONVOLT_ANGSTROM / geometry.wavelength / 2
    return [
        f"Detector: {model.header_name}",
        f"{START_TIME}.000",
        f"Pixel_size {pixel} x {pixel}",
        f"Silicon sensor, thickness {model.sensor_mm * 1e-3:.6f} m",
        f"Exposure_time {plan.exposure_time:.7f} s",
        f"Exposure_period {plan.exposure_time:.7f} s",
        f"Count_cutoff {SATURATED} counts",
        f"Threshold_setting: {threshold:.0f} eV",
        f"Wavelength {geometry.wavelength:.5f} A",
        f"Detector_distance {geometry.distance_mm * 1e-3:.5f} m",
        f"Beam_xy ({fast:.2f}, {slow:.2f}) pixels",
        f"Start_angle {plan.omega[index]:.4f} deg.",
        f"Angle_increment {plan.omega_increment:.4f} deg.",
        "Detector_2theta 0.0000 deg.",
        "Polarization 0.999",
    ]


def _binary_lines(shape: tuple[int, int], body: bytes) -> list[str]:
    """Return the header of the binary section."""
    slow, fast = shape
    digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest())
    return [
        "--CIF-BINARY-FORMAT-SECTION--",
        "Content-Type: application/octet-stream;",
        '     conversions="x-CBF_BYTE_OFFSET"',
        "Content-Transfer-Encoding: BINARY",
        f"X-Binary-Size: {len(body)}",
        "X-Binary-ID: 1",
        'X-Binary-Element-Type: "signed 32-bit integer"',
        "X-Binary-Element-Byte-Order: LITTLE_ENDIAN",
        f"Content-MD5: {digest.decode()}",
        f"X-Binary-Number-of-Elements: {slow * fast}",
        f"X-Binary-Size-Fastest-Dimension: {fast}",
        f"X-Binary-Size-Second-Dimension: {slow}",
        f"X-Binary-Size-Padding: {_PADDING}",
    ]
