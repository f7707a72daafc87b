"""Warm-up of workers of `images`: one small image goes the way of all others.

It is analysed before the worker forks, so that its children find loaded what the first
image would otherwise wait for.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from zocelery_tasks.kernels.threshold import Algorithm

SHAPE = (32, 32)
_HEADER = """###CBF: VERSION 1.5
data_warm_up

_array_data.header_convention "PILATUS_1.2"
_array_data.header_contents
;
# Detector: PILATUS, warm-up
# Pixel_size 172e-6 m x 172e-6 m
# Silicon sensor, thickness 0.000320 m
# Count_cutoff 1000 counts
# Wavelength 0.9 A
# Detector_distance 0.1 m
# Beam_xy (16, 16) pixels
# Start_angle 0 deg.
# Angle_increment 0.1 deg.
;

_array_data.data
;
--CIF-BINARY-FORMAT-SECTION--
Content-Type: application/octet-stream;
     conversions="x-CBF_BYTE_OFFSET"
Content-Transfer-Encoding: BINARY
X-Binary-Size: {size}
X-Binary-Element-Type: "signed 32-bit integer"
X-Binary-Element-Byte-Order: LITTLE_ENDIAN
X-Binary-Number-of-Elements: {size}
X-Binary-Size-Fastest-Dimension: {fast}
X-Binary-Size-Second-Dimension: {slow}

"""


def warm_up_images() -> None:
    """Compile what the images of workers need, or load it, and analyse one."""
    from zocelery_tasks.images import bitshuffle
    from zocelery_tasks.spot_finding import warm_up

    bitshuffle.warm_up()
    warm_up([Algorithm.DISPERSION])
    with TemporaryDirectory(prefix="zocelery-warm-up-") as folder:
        file = Path(folder, "warm_up_00001.cbf")
        file.write_bytes(small_image())
        analyse(file)


def analyse(file: Path) -> int:
    """Return how many spots an image has, by the way that all images go."""
    from zocelery_tasks.per_image_analysis import analyse_image, pixel_buffers
    from zocelery_tasks.per_image_parameters import PerImageAnalysisParameters

    parameters = PerImageAnalysisParameters()
    image = parameters.backend.open_image(file, 1, pixel_buffers())
    return analyse_image(image, parameters).n_spots_found


def small_image() -> bytes:
    """Return a mini CBF file with four spots on a low background."""
    counts = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE) % 3
    for slow, fast in ((6, 6), (6, 25), (25, 6), (25, 25)):
        counts[slow : slow + 3, fast : fast + 3] = 100
    body = np.diff(counts.reshape(-1), prepend=0).astype(np.int8).tobytes()
    header = _HEADER.format(size=len(body), slow=SHAPE[0], fast=SHAPE[1])
    start, end = b"\x0c\x1a\x04\xd5", b"\r\n--CIF-BINARY-FORMAT-SECTION----\r\n;\r\n"
    return header.replace("\n", "\r\n").encode() + start + body + end
