"""The beam of one image."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Beam:
    """A monochromatic beam."""

    wavelength: float
    """In Å, > 0."""
    source_direction: tuple[float, float, float] = (0.0, 0.0, 1.0)
    """From the sample towards the source, in the frame of `panel.Vector`."""
