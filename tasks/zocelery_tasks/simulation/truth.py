"""What an analysis of simulated images should find, as files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zocelery_tasks.simulation.file_names import FileNames
from zocelery_tasks.simulation.frames import FrameSimulator
from zocelery_tasks.simulation.grid import GridScan
from zocelery_tasks.simulation.settings import RotationRequest


def write_grid_truth(names: FileNames, scan: GridScan) -> None:
    """Write STEM_truth.json: the grid, the crystal in boxes, a factor per image."""
    _write_json(
        names.truth,
        {
            "kind": "grid",
            "plane": scan.plane,
            "steps": scan.steps,
            "snaked": scan.snaked,
            "orientation": scan.orientation,
            "box_size_um": scan.box_size_um,
            "omega": scan.omega,
            "centre": scan.centre,
            "crystal_size": scan.crystal_size,
            "boxes": scan.boxes().tolist(),
            "factors": scan.factors().round(6).tolist(),
        },
    )


def write_rotation_truth(
    names: FileNames, request: RotationRequest, simulator: FrameSimulator
) -> None:
    """Write STEM_truth.json, the crystal, and STEM_truth.npz, its reflections.

    The table holds hkl, x and y (pixels along fast and slow), phi (degrees), zeta,
    counts (of the whole reflection) and f_squared, without imperfections and noise.
    """
    geometry, crystal = simulator.geometry, simulator.crystal
    end = request.start + request.images * request.width
    phi = simulator.predicted.phi
    seen = simulator.predicted.select((phi >= request.start) & (phi < end))
    slow, fast = geometry.beam_centre
    _write_json(
        names.truth,
        {
            "kind": "rotation",
            "images": request.images,
            "start": request.start,
            "width": request.width,
            "space_group": "P 43 21 2",
            "cell": (*crystal.cell, 90.0, 90.0, 90.0),
            "orientation": crystal.orientation.tolist(),
            "wavelength": geometry.wavelength,
            "distance": geometry.distance_mm,
            "beam_centre": {"fast": fast, "slow": slow},
            "reflections": len(seen),
        },
    )
    np.savez_compressed(
        names.reflections,
        hkl=seen.hkl,
        x=seen.x,
        y=seen.y,
        phi=seen.phi,
        zeta=seen.zeta,
        counts=seen.recorded * simulator.scale,
        f_squared=seen.f_squared,
    )


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write one JSON object."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
