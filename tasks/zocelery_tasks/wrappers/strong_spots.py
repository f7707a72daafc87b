"""What a node that joins strong pixels to spots is told, and the command that does it.

The images have been looked at one by one while they were written; see
`zocelery_tasks.strong_pixels`.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zocelery_tasks
from zocelery.errors import ParameterError, PermanentError
from zocelery.messages import Step
from zocelery_tasks.dials.process import HOW_TO_INSTALL, PYTHONS
from zocelery_tasks.wrappers.folders import allowed_input

PIXELS_FILE = "strong_pixels.json"
_CHILD = Path(zocelery_tasks.__file__).parent / "dials" / "child" / "join_spots.py"
_DECIDED = ("threshold", "region_of_interest", "scan_range")
"""What is decided when an image is looked at; parameters of it would come too late."""


@dataclass(frozen=True)
class Gathered:
    """What the branches before have answered."""

    pixels: Mapping[int, str]
    """Files of strong pixels by the numbers of images, from 1."""
    imported: Mapping[str, Any]
    """What dials.import has answered."""

    @classmethod
    def of(cls, step: Step) -> "Gathered":
        """Tell images from the import among the members of a step.

        Raises:
            PermanentError: there is no import among them, or no image.
            ParameterError: a file is outside of the allowed folders.
        """
        pixels: dict[int, str] = {}
        imported: Mapping[str, Any] = {}
        for member in step.members:
            value = member.value if isinstance(member.value, Mapping) else {}
            if "experiments" in value:
                imported = value
            elif "strong_pixels" in value:
                named = str(value["strong_pixels"])
                pixels[int(member.item)] = str(allowed_input(named, "strong_pixels"))
        if not imported or not pixels:
            failed = [member for member in step.members if member.error]
            errors = [f"{m.item or m.source}: {m.error}" for m in failed]
            known = f"{len(pixels)} images came, not the last one"
            what = "images" if imported else "experiments"
            said = "; ".join(errors[:3]) or known
            raise PermanentError(f"dials.join_spots: no {what} came ({said})")
        return cls(pixels, imported)

    def missing(self) -> list[int]:
        """Return the images without pixels, of those that were imported."""
        last = int(self.imported.get("images") or max(self.pixels))
        return [n for n in range(1, last + 1) if n not in self.pixels]


def join_command(
    folder: Path, gathered: Gathered, experiments: Path, phil: Iterator[str]
) -> list[str]:
    """Write what is to be joined into a folder; return the command that does it.

    Raises:
        ParameterError: a parameter concerns what has been decided already.
        PermanentError: DIALS is not there.
    """
    named = list(phil)
    for argument in named:
        name, _, value = argument.partition("=")
        if any(part in _DECIDED for part in name.split(".")):
            raise ParameterError(
                f"dials.join_spots: {name}: {value} comes too late, the strong pixels "
                "are known; it is for the analysis of the images"
            )
    python = next(filter(None, map(shutil.which, PYTHONS)), None)
    if python is None:
        raise PermanentError(HOW_TO_INSTALL)
    texts = {str(number): file for number, file in gathered.pixels.items()}
    (folder / PIXELS_FILE).write_text(json.dumps(texts))
    return [python, str(_CHILD), PIXELS_FILE, str(experiments), "nproc=1", *named]
