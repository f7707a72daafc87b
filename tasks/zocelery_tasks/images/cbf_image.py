"""Images of CBF files, of one panel or of several."""

from pathlib import Path

import numpy as np

from zocelery.errors import ImageError
from zocelery_tasks.images.cbf import CbfFile, parse_cbf
from zocelery_tasks.images.image import Image, PixelBuffers, Pixels
from zocelery_tasks.images.imgcif import (
    has_imgcif_tables,
    imgcif_geometry,
    imgcif_panels_geometry,
)
from zocelery_tasks.images.mini_cbf import mini_cbf_geometry


def cbf_image(
    file: Path, content: bytes, image_number: int, buffers: PixelBuffers | None
) -> Image:
    """Return the image of a CBF file; several panels stand one below the other.

    Args:
        file: for messages.
        content: of the file, decompressed.
        image_number: what to call it.
        buffers: where the pixels go; a new array if not given.

    Raises:
        ImageError: if the file is truncated, lacks what is needed, or is of a kind that
            is not supported.
    """
    cbf = parse_cbf(file, content)
    if cbf.others:
        return _image_of_panels(cbf, image_number, buffers)
    read_geometry = (
        imgcif_geometry if has_imgcif_tables(cbf.header) else mini_cbf_geometry
    )
    detector, beam = read_geometry(cbf)
    return Image(file, image_number, cbf.decode(buffers), detector, beam)


def _image_of_panels(
    cbf: CbfFile, image_number: int, buffers: PixelBuffers | None
) -> Image:
    sections = (cbf, *cbf.others)
    ends = np.cumsum([section.shape[0] for section in sections]).tolist()
    places = [(end, 0) for end in (0, *ends[:-1])]
    shape = (int(ends[-1]), max(section.shape[1] for section in sections))
    if len({section.dtype for section in sections}) > 1:
        raise ImageError(f"{cbf.file}: panels of different types are not supported")
    detector, beam = imgcif_panels_geometry(cbf, shape, places)
    pixels: Pixels = (buffers or PixelBuffers()).take(shape, cbf.dtype)
    for section, panel in zip(sections, detector.panels, strict=True):
        pixels[panel.region(shape)] = section.decode()
    return Image(cbf.file, image_number, pixels, detector, beam)
