"""What was simulated, as JSON objects and as a few lines for people."""

import json
import shlex
from typing import Any

from zocelery_tasks.simulation.grid import GridScan
from zocelery_tasks.simulation.scan_writer import WrittenScan
from zocelery_tasks.simulation.scans import SimulatedGrid, SimulatedRotation
from zocelery_tasks.simulation.settings import ImageFormat


def summarise_rotation(rotation: SimulatedRotation) -> dict[str, Any]:
    """Return what is on disk and in the images, and the command to try next."""
    written, crystal = rotation.written, rotation.simulator.crystal
    images = f"images={written.images_parameter}"
    return {
        "kind": "rotation",
        "cell": (*crystal.cell, 90.0, 90.0, 90.0),
        "space_group": "P 43 21 2",
        "scans": [_summarise_files(written)],
        "next": _command("run", "per-image-analysis", "-p", images),
    }


def summarise_grid(grid: SimulatedGrid) -> dict[str, Any]:
    """Return what is on disk, where the crystal is, and the command to try next."""
    scans = [
        _summarise_files(written) | _summarise_scan(scan)
        for scan, written in zip(grid.scans, grid.written, strict=True)
    ]
    return {
        "kind": "grid",
        "centre": grid.centre,
        "scans": scans,
        "next": _centring_command(grid),
    }


def describe(summary: dict[str, Any]) -> list[str]:
    """Return a summary as lines for people."""
    lines = []
    for scan in summary["scans"]:
        lines.append(_describe_files(scan))
        if scan["asked_hz"] is not None:
            lines.append(_describe_pace(scan))
        if summary["kind"] == "grid":
            lines.append(_describe_crystal(scan))
    if summary["kind"] == "rotation":
        cell = " ".join(f"{value:g}" for value in summary["cell"])
        lines.append(f"crystal: {summary['space_group']}, cell {cell}")
    else:
        centre = ", ".join(f"{value:.2f}" for value in summary["centre"])
        lines.append(f"centre of the crystal: ({centre}) boxes")
    return [*lines, f"try: {summary['next']}"]


def _summarise_files(written: WrittenScan) -> dict[str, Any]:
    """Return what is on disk."""
    names, pace = written.names, written.pace
    has_nxmx = written.format is not ImageFormat.CBF
    has_cbf = written.format is not ImageFormat.NXMX
    files = written.files
    return {
        "name": names.stem,
        "folder": str(names.folder),
        "master": str(names.master) if has_nxmx else None,
        "cbf_template": str(names.cbf_template) if has_cbf else None,
        "truth": str(names.truth) if names.truth in files else None,
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
        "images": written.images,
        "detector": written.detector.name,
        "shape": written.detector.shape,
        "seconds": round(pace.seconds, 3),
        "asked_hz": pace.asked_hz,
        "achieved_hz": round(pace.achieved_hz, 2),
        "worst_delay_s": round(pace.worst_delay_s, 4),
    }


def _summarise_scan(scan: GridScan) -> dict[str, Any]:
    """Return what the images of a grid scan show."""
    factors = scan.factors()
    return {
        "plane": scan.plane,
        "steps": scan.steps,
        "snaked": scan.snaked,
        "orientation": str(scan.orientation),
        "centre": scan.centre,
        "crystal_size": scan.crystal_size,
        "images_with_crystal": int((factors > 0).sum()),
        "best_image": int(factors.argmax()) + 1,
        "gridinfo": scan.gridinfo(),
    }


def _centring_command(grid: SimulatedGrid) -> str:
    """Return the command that finds the crystal."""
    flat = len(grid.scans) == 1
    parameters = []
    for scan, written in zip(grid.scans, grid.written, strict=True):
        suffix = "" if flat else f"_{scan.plane}"
        parameters += ["-p", f"images{suffix}={written.images_parameter}"]
        if scan.is_plain:
            grid_text = f"grid{suffix}={scan.steps[0]}x{scan.steps[1]}"
        else:
            grid_text = f"gridinfo{suffix}={json.dumps(scan.gridinfo())}"
        parameters += ["-p", grid_text]
    return _command("run", "grid-scan" if flat else "grid-scan-3d", *parameters)


def _command(*arguments: str) -> str:
    """Return a command line of zocelery, quoted for a shell."""
    return shlex.join(("zocelery", *arguments))


def _describe_files(scan: dict[str, Any]) -> str:
    """Return what is on disk."""
    slow, fast = scan["shape"]
    return (
        f"{scan['master'] or scan['cbf_template']}: {scan['images']} images of "
        f"{scan['detector']} ({fast} x {slow} pixels), {scan['bytes'] / 1e6:.1f} MB "
        f"in {scan['files']} files, {scan['seconds']:.1f} s"
    )


def _describe_pace(scan: dict[str, Any]) -> str:
    """Return how fast the images came."""
    return (
        f"  {scan['asked_hz']:g} images/s asked for, {scan['achieved_hz']:.2f} "
        f"achieved, none more than {scan['worst_delay_s'] * 1e3:.1f} ms late"
    )


def _describe_crystal(scan: dict[str, Any]) -> str:
    """Return what the images of a grid scan show."""
    (nx, ny), (x, y), (width, height) = (
        scan[key] for key in ("steps", "centre", "crystal_size")
    )
    return (
        f"  {scan['plane']}: {nx} x {ny} boxes, crystal at ({x:.2f}, {y:.2f}), "
        f"{width:.2f} x {height:.2f} boxes wide, in {scan['images_with_crystal']} "
        f"images, most in image {scan['best_image']}"
    )
