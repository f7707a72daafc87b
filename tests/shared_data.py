"""Where real images lie that are not part of the repository."""

from pathlib import Path

SHARED = Path(__file__).parents[2] / "shared"
"""Beside the checkout; tests that need it are skipped where it is not there."""
