"""Opening any supported image by file name and number."""

from pathlib import Path

from zocelery.errors import ImageError, TaskError
from zocelery_tasks.images import hdf5_file
from zocelery_tasks.images.cbf import SIGNATURE as CBF_SIGNATURE
from zocelery_tasks.images.cbf_image import cbf_image
from zocelery_tasks.images.collection import open_collection
from zocelery_tasks.images.files import is_compressed, read_bytes, read_whole
from zocelery_tasks.images.image import Image, PixelBuffers
from zocelery_tasks.images.smv import is_smv
from zocelery_tasks.images.smv_image import smv_image

_HEAD = 64
_UNKNOWN = "neither a CBF, SMV nor HDF5 image (the backend dials opens others)"
_UNEXPECTED = (OSError, RuntimeError, LookupError, ValueError, TypeError, MemoryError)
"""What h5py and numpy raise when a file is damaged in ways that nobody foresaw."""


def open_image(
    file: Path, image_number: int = 1, buffers: PixelBuffers | None = None
) -> Image:
    """Read one image with its geometry.

    Args:
        file: a CBF or SMV file (also `.gz` and `.bz2`), a NXmx file or an Eiger
            master file.
        image_number: 1-based, within the file.
        buffers: where the pixels go; a new array if not given.

    Raises:
        ImageError: if the file or image cannot be read; one line that names both.
        TemporaryError: if the file server fails, so that trying again may help.
    """
    try:
        with hdf5_file.one_look():
            if is_hdf5(file):
                return open_collection(file).image(image_number, buffers)
            return _lone_image(file, image_number, buffers)
    except TaskError as error:
        place = f"{file}: image {image_number}: "
        message = str(error).removeprefix(f"{file}: ")
        raise type(error)(place + message) from error
    except _UNEXPECTED as error:
        raise _unreadable(file, error) from error


def count_images(file: Path) -> int:
    """Return how many images a file holds by now.

    Raises:
        ImageError: if the file cannot be read, or is no image file.
        TemporaryError: if the file server fails, so that trying again may help.
    """
    try:
        with hdf5_file.one_look():
            return len(open_collection(file)) if is_hdf5(file) else 1
    except _UNEXPECTED as error:
        raise _unreadable(file, error) from error


def is_hdf5(file: Path) -> bool:
    """Whether a file is HDF5 rather than a CBF or SMV file.

    Raises:
        ImageError: if it is none of these, is missing or may not be read.
        TemporaryError: if the file server fails.
    """
    if hdf5_file.is_open(file):
        return True
    head = read_bytes(file, _HEAD)
    if head.startswith(hdf5_file.SIGNATURE):
        return True
    if _may_be_lone(head):
        return False
    raise ImageError(f"{file}: {_UNKNOWN if head else 'empty'}")


def _may_be_lone(head: bytes) -> bool:
    """Whether a file that begins with `head` may hold one image and no more."""
    return head.startswith(CBF_SIGNATURE) or is_smv(head) or is_compressed(head)


def _lone_image(file: Path, image_number: int, buffers: PixelBuffers | None) -> Image:
    """Read an image that has a file for itself."""
    if image_number != 1:
        raise ImageError(f"{file}: there is only image 1")
    content = read_whole(file)
    if is_smv(content):
        return smv_image(file, content, image_number, buffers)
    if not content.startswith(CBF_SIGNATURE):
        raise ImageError(f"{file}: {_UNKNOWN}")
    return cbf_image(file, content, image_number, buffers)


def _unreadable(file: Path, error: Exception) -> ImageError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return ImageError(f"{file}: cannot be read: {reason}")
