"""Simulated scans: the two ways in, `simulate_rotation` and `simulate_grid`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zocelery.errors import InputFileError, ParameterError
from zocelery_tasks.simulation.file_names import FileNames
from zocelery_tasks.simulation.frames import FrameSimulator
from zocelery_tasks.simulation.gaussian import FloatArray
from zocelery_tasks.simulation.grid import GridScan, plan_grid_scans
from zocelery_tasks.simulation.scan_plan import ScanPlan
from zocelery_tasks.simulation.scan_writer import (
    Progress,
    WrittenScan,
    no_progress,
    write_scan,
)
from zocelery_tasks.simulation.settings import (
    GridRequest,
    OutputSettings,
    RotationRequest,
    parse_request,
)
from zocelery_tasks.simulation.spots import Exposure
from zocelery_tasks.simulation.truth import write_grid_truth, write_rotation_truth

__all__ = [
    "SimulatedGrid",
    "SimulatedRotation",
    "simulate_grid",
    "simulate_rotation",
]

_MAX_DATA_FILES = 200
"""All are open at the same time; the system allows a process about a thousand."""


@dataclass(frozen=True)
class SimulatedRotation:
    """A rotation data set on disk."""

    written: WrittenScan
    simulator: FrameSimulator

    @property
    def master(self) -> Path:
        """The .nxs file; it exists unless only CBF was asked for."""
        return self.written.master


@dataclass(frozen=True)
class SimulatedGrid:
    """One grid scan on disk, or two orthogonal ones of the same crystal."""

    written: tuple[WrittenScan, ...]
    scans: tuple[GridScan, ...]
    """What each should show: centre and size of the crystal, factor of each image."""

    @property
    def master(self) -> Path:
        """The .nxs file of the first scan; it exists unless only CBF was asked for."""
        return self.written[0].master

    @property
    def centre(self) -> tuple[float, ...]:
        """Middle of the crystal in boxes, x y [z]; the first box's middle is 0.5."""
        first, *others = (scan.centre for scan in self.scans)
        return (*first, *(centre[1] for centre in others))


def simulate_rotation(
    folder: Path, progress: Progress = no_progress, **options: Any
) -> SimulatedRotation:
    """Write a rotation data set into `folder`, which is made if need be.

    Args:
        folder: where the files go.
        progress: told what is going on, image by image.
        **options: fields of `RotationRequest`.

    Raises:
        ParameterError: naming the option that cannot be used.
        InputFileError: if the files cannot be written, or exist.
    """
    request = parse_request(RotationRequest, options)
    _check_data_files(request, request.images)
    names = FileNames(folder, request.stem)
    with _file_errors(folder):
        if not request.overwrite:
            names.refuse_existing()
        end = request.start + request.images * request.width
        simulator = FrameSimulator(request, (request.start, end), request.distinct)
        names.make_room()
        if request.truth:
            write_rotation_truth(names, request, simulator)
        plan = _rotation_plan(request, simulator)
        written = write_scan(folder, plan, simulator, request, progress)
    return SimulatedRotation(written, simulator)


def simulate_grid(
    folder: Path, progress: Progress = no_progress, **options: Any
) -> SimulatedGrid:
    """Write a grid scan, with `third_axis` two, into `folder`, made if need be.

    Args:
        folder: where the files go.
        progress: told what is going on, image by image.
        **options: fields of `GridRequest`.

    Raises:
        ParameterError: naming the option that cannot be used.
        InputFileError: if the files cannot be written, or exist.
    """
    request = parse_request(GridRequest, options)
    scans = plan_grid_scans(request)
    _check_data_files(request, max(scan.images for scan in scans))
    with _file_errors(folder):
        for scan in scans:
            if not request.overwrite:
                FileNames(folder, scan.stem).refuse_existing()
        written = [_write_grid_scan(folder, scan, request, progress) for scan in scans]
    return SimulatedGrid(tuple(written), scans)


def _write_grid_scan(
    folder: Path, scan: GridScan, request: GridRequest, progress: Progress
) -> WrittenScan:
    """Write one scan of a grid."""
    half = request.width / 2
    phi = (scan.omega - half, scan.omega + half)
    simulator = FrameSimulator(request, phi, request.distinct)
    names = FileNames(folder, scan.stem)
    names.make_room()
    if request.truth:
        write_grid_truth(names, scan)
    exposures = [
        Exposure(number, phi, float(factor))
        for number, factor in enumerate(scan.factors())
    ]
    positions = np.asarray(scan.boxes() * scan.box_size_um / 1e3, np.float64)
    plan = ScanPlan(
        stem=scan.stem,
        geometry=simulator.geometry,
        mask=simulator.mask,
        exposures=exposures,
        omega=np.full(scan.images, scan.omega),
        omega_increment=0.0,
        exposure_time=_exposure_time(request),
        translations={
            "sam_x": positions[:, 0],
            f"sam_{scan.plane[1]}": positions[:, 1],
        },
    )
    return write_scan(folder, plan, simulator, request, progress)


def _rotation_plan(request: RotationRequest, simulator: FrameSimulator) -> ScanPlan:
    """Return what the writers need to know of a rotation."""
    steps = np.arange(request.images, dtype=np.float64)
    omega: FloatArray = request.start + steps * request.width
    exposures = [
        Exposure(number, (float(start), float(start + request.width)))
        for number, start in enumerate(omega)
    ]
    return ScanPlan(
        stem=request.stem,
        geometry=simulator.geometry,
        mask=simulator.mask,
        exposures=exposures,
        omega=omega,
        omega_increment=request.width,
        exposure_time=_exposure_time(request),
    )


def _exposure_time(output: OutputSettings) -> float:
    """Return the seconds per image that the headers should tell."""
    return 1 / output.frame_rate if output.frame_rate else output.exposure_time


def _check_data_files(output: OutputSettings, images: int) -> None:
    """Refuse to spread images over too many HDF5 files.

    Raises:
        ParameterError: with the smallest `images_per_file` that works.
    """
    per_file = output.images_per_file or images
    if -(-images // per_file) > _MAX_DATA_FILES:
        least = -(-images // _MAX_DATA_FILES)
        raise ParameterError(
            f"images-per-file: {per_file} would make more than {_MAX_DATA_FILES} "
            f"files of {images} images; at least {least} are needed"
        )


@contextmanager
def _file_errors(folder: Path) -> Iterator[None]:
    """Turn what the file system says into one line.

    Raises:
        InputFileError: instead of OSError.
    """
    try:
        yield
    except OSError as error:
        raise InputFileError(f"cannot write to {folder}: {error}") from error
