"""The files that X-ray centring leaves: result, text for people, link."""

import errno
import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zocelery.allowed_files import allowed_path
from zocelery.errors import (
    ParameterError,
    PermanentError,
    TaskError,
    TemporaryError,
)
from zocelery_tasks.centring_results import Centre2DResult, Centring3D
from zocelery_tasks.heat_map import table_of_counts
from zocelery_tasks.kernels.centring_2d import keep_strong
from zocelery_tasks.kernels.grid import GridGeometry, reshape_grid
from zocelery_tasks.xray_centering_parameters import XrayCenteringParameters

logger = logging.getLogger(__name__)

_HOPELESS = {
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
"""Errors of the file system that stay when one tries again."""


def report_2d(result: Centre2DResult, data: list[float], geometry: GridGeometry) -> str:
    """Return a text for people: the grid's strong counts and the centre.

    Args:
        result: the centre.
        data: counts in the order of the scan, 0 for missing images.
        geometry: of the grid.
    """
    lines = [
        f"steps x, y: {geometry.steps}",
        f"box_size_px: {geometry.box_size_px}",
        f"snapshot_offset: {geometry.snapshot_offset}",
    ]
    if result.status == "ok":
        strong = keep_strong(reshape_grid(data, geometry)).T
        count, image = result.reflections_in_best_image, result.best_image
        lines += [
            f"There are {count} reflections in image #{image}.",
            "grid:",
            *table_of_counts(strong),
            f"centre_x,centre_y={result.centre_x},{result.centre_y}",
        ]
    else:
        lines.append(f"{result.message}.")
    lines += _left_out(result.missing, result.unexpected)
    return "\n".join(lines) + "\n"


def report_3d(result: Centring3D) -> str:
    """Return a text for people: each crystal with its place and its signal."""
    count = len(result.results)
    lines = ["no crystal found" if count == 0 else f"crystals found: {count}"]
    for number, centre in enumerate(result.results, start=1):
        x, y, z = centre.centre_of_mass
        sample = "" if centre.sample_id is None else f", sample {centre.sample_id}"
        lines.append(
            f"{number}: centre (x, y, z) = ({x:.3f}, {y:.3f}, {z:.3f}) in boxes, "
            f"largest {centre.max_count} at {centre.max_voxel}, "
            f"total {centre.total_count} in {centre.n_voxels} voxels{sample}"
        )
    for grid, (missing, unexpected) in enumerate(
        zip(result.missing, result.unexpected, strict=True), start=1
    ):
        lines += [f"grid {grid}: {line}" for line in _left_out(missing, unexpected)]
    return "\n".join(lines) + "\n"


def _left_out(missing: list[int], unexpected: list[int]) -> list[str]:
    return [
        f"{title}: {' '.join(map(str, numbers))}"
        for title, numbers in (
            ("images without a count, taken for empty", missing),
            ("image numbers outside of the grid, left out", unexpected),
        )
        if numbers
    ]


def write_results(
    result: Centre2DResult | Centring3D,
    report: str,
    parameters: XrayCenteringParameters,
) -> list[Path]:
    """Write the files that the parameters `output`, `log`, `results_symlink` name.

    Readers see an old file or a new one, never half of one; writing twice is harmless.

    Args:
        result: goes to `output` as a JSON object.
        report: goes to `log`.
        parameters: of the node.

    Returns:
        The files and the link.

    Raises:
        ParameterError: if tasks may not write there.
        PermanentError: if a file can never be written there.
        TemporaryError: if it may work later, for instance when the disk is full.
    """
    output, log = allowed_results(parameters)
    written = []
    if output is not None:
        write_atomically(output, result.model_dump_json() + "\n")
        written.append(output)
        if parameters.results_symlink is not None:
            written += _link_beside(output.parent, parameters.results_symlink)
    if log is not None:
        write_atomically(log, report)
        written.append(log)
    return written


def write_message(
    message: Any, output: str, results_symlink: str | None = None
) -> list[Path]:
    """Write the centre of a 2-D centring's message as `write_results` would.

    Args:
        message: what `xray_centering` has answered.
        output: the file.
        results_symlink: name of a link to its folder.

    Returns:
        The file and the link.

    Raises:
        PermanentError: the message has no 2-D centre, tasks may not write there.
        TemporaryError: it may work later.
    """
    told = message if isinstance(message, Mapping) else {}
    try:
        (centre,) = told["results"]
        missing = {key: told.get(key) or [] for key in ("missing", "unexpected")}
        result = Centre2DResult.model_validate({**centre, **missing})
        files = XrayCenteringParameters(
            output=Path(output), results_symlink=results_symlink
        )
        return write_results(result, "", files)
    except (LookupError, TypeError, ValueError, ParameterError) as error:
        if isinstance(error, ParameterError):
            raise PermanentError(str(error)) from error
        raise PermanentError("the payload is no centre in two dimensions") from error


def allowed_results(
    parameters: XrayCenteringParameters,
) -> tuple[Path | None, Path | None]:
    """Return the files for result and text, if tasks may write there.

    Raises:
        ParameterError: one, or the link, is outside of the allowed folders; the message
            names key and value.
    """
    output, log = (
        None if path is None else allowed_path(path, key)
        for key, path in (("output", parameters.output), ("log", parameters.log))
    )
    if output is not None and parameters.results_symlink is not None:
        allowed_path(output.absolute().parent.parent, "results_symlink")
    return output, log


def write_atomically(path: Path, text: str) -> None:
    """Put a text into a file and make the folders that it needs.

    Raises:
        PermanentError: if it can never be written there.
        TemporaryError: if it may work later.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise _task_error(path, error) from error


def _link_beside(folder: Path, name: str) -> list[Path]:
    """Make the link `name` beside `folder`, or turn it to there."""
    folder = folder.absolute()
    link = folder.parent / name
    if link.exists() and not link.is_symlink():
        logger.warning("%s is in the way and no link: it is left as it is.", link)
        return []
    draft = link.with_name(f".{name}.{secrets.token_hex(4)}")
    try:
        try:
            draft.symlink_to(folder.name, target_is_directory=True)
            draft.replace(link)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise _task_error(link, error) from error
    return [link]


def _task_error(path: Path, error: OSError) -> TaskError:
    kind = PermanentError if error.errno in _HOPELESS else TemporaryError
    return kind(f"cannot write {path}: {error.strerror or error}")
