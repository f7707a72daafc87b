"""Who opens an image: this package itself, or DIALS for it."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from zocelery.errors import ConfigurationError

if TYPE_CHECKING:  # whoever only reads parameters need not load numpy
    from zocelery_tasks.images.image import Image, PixelBuffers


class Backend(StrEnum):
    """Who opens images."""

    NATIVE = "native"
    """This package: CBF, SMV, NXmx and Eiger master files."""
    DIALS = "dials"
    """An installed DIALS, in a process of its own: every detector that it knows."""

    def open_image(
        self,
        file: Path,
        image_number: int = 1,
        buffers: "PixelBuffers | None" = None,
    ) -> "Image":
        """Read one image with its geometry.

        Args:
            file: an image file.
            image_number: 1-based, within the file.
            buffers: where the pixels go; a new array if not given.

        Raises:
            ImageError: if it cannot be read; one line that names file and image.
            TemporaryError: if the file server fails, so that trying again may help.
        """
        if self is Backend.DIALS:
            from zocelery_tasks.dials.backend import open_image_by_dials

            return open_image_by_dials(file, image_number, buffers)
        from zocelery_tasks.images.open import open_image

        return open_image(file, image_number, buffers)

    def count_images(self, file: Path) -> int:
        """Return how many images a file holds by now.

        Raises:
            ImageError: if it cannot be read, or is no image file.
            TemporaryError: if the file server fails.
        """
        if self is Backend.DIALS:
            from zocelery_tasks.dials.backend import count_images_by_dials

            return count_images_by_dials(file)
        from zocelery_tasks.images.open import count_images

        return count_images(file)

    def check(self) -> None:
        """Make sure that the backend is there, and ready for the first image.

        Raises:
            ConfigurationError: if it is not; the message says what to install.
        """
        if self is Backend.DIALS:
            from zocelery_tasks.dials.backend import check_dials
            from zocelery_tasks.dials.process import DialsMissingError

            try:
                check_dials()
            except DialsMissingError as error:
                raise ConfigurationError(str(error)) from error
