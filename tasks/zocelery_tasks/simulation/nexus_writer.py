"""NXmx files: a master that describes the experiment, and a file with the mask.

The layout is that of Diamond's Eiger beamlines: STEM.nxs, STEM_meta.h5 and the data
files STEM_000001.h5 ... . The fields are those of the application definition
https://manual.nexusformat.org/classes/applications/NXmx.html
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from zocelery_tasks.simulation.bslz4 import bitshuffle_lz4
from zocelery_tasks.simulation.file_names import FileNames, appearing_whole
from zocelery_tasks.simulation.frames import SATURATED
from zocelery_tasks.simulation.nexus_data import HDF5_VERSIONS, link_data
from zocelery_tasks.simulation.scan_plan import (
    BIT_DEPTH,
    ELECTRONVOLT_ANGSTROM,
    START_TIME,
    ScanPlan,
)

_OMEGA = "/entry/sample/transformations/omega"
_DET_Z = "/entry/instrument/detector/transformations/det_z"
_MODULE_OFFSET = "/entry/instrument/detector/module/module_offset"

_TRANSLATION_AXES = {
    "sam_x": (1.0, 0.0, 0.0),
    "sam_y": (0.0, 1.0, 0.0),
    "sam_z": (0.0, 0.0, 1.0),
}


def write_meta_file(names: FileNames, plan: ScanPlan) -> None:
    """Write the mask and the detector's own notes; the file appears complete."""
    with _new_file(names.meta) as file:
        mask = plan.mask.astype(np.uint32)
        file.create_dataset("mask", data=mask, chunks=mask.shape, **bitshuffle_lz4())
        _fields(
            file.create_group("_dectris"),
            nimages=len(plan),
            ntrigger=1,
            bit_depth_image=BIT_DEPTH,
            pixel_mask_applied=1,
            photon_energy=ELECTRONVOLT_ANGSTROM / plan.geometry.wavelength,
        )


def write_master_file(names: FileNames, plan: ScanPlan, images_per_file: int) -> None:
    """Write what describes the experiment; the file appears complete.

    Write it after the data files and the meta file, to which it links.
    """
    with _new_file(names.master) as file:
        file.attrs["default"] = "entry"
        entry = _group(file, "entry", "NXentry")
        entry.attrs["default"] = "data"
        time = f"{START_TIME}Z"
        _fields(entry, definition="NXmx", start_time=time, end_time_estimated=time)
        entry["definition"].attrs["version"] = "1.0"
        _write_sample(entry, plan)
        _write_source(entry)
        _write_instrument(entry, plan)
        _write_data(entry, names, plan, images_per_file)


@contextmanager
def _new_file(path: Path) -> Iterator[h5py.File]:
    """Yield a file that appears when all has been written."""
    with (
        appearing_whole(path) as hidden,
        h5py.File(hidden, "w", libver=HDF5_VERSIONS) as file,
    ):
        yield file


def _group(parent: h5py.Group, name: str, nexus_class: str) -> h5py.Group:
    """Return a new group of a NeXus class."""
    group = parent.create_group(name)
    group.attrs["NX_class"] = nexus_class
    return group


def _fields(group: h5py.Group, units: str | None = None, **values: Any) -> None:
    """Write fields that share a unit."""
    for name, value in values.items():
        group[name] = value
        if units is not None:
            group[name].attrs["units"] = units


def _axis(
    group: h5py.Group, name: str, value: Any, attributes: Mapping[str, Any]
) -> None:
    """Write a field that is an axis of a chain of transformations."""
    group[name] = value
    group[name].attrs.update(attributes)


def _rotation(vector: Any) -> dict[str, Any]:
    """Return the attributes of an axis that turns by degrees."""
    return {
        "transformation_type": "rotation",
        "units": "deg",
        "vector": vector,
        "depends_on": ".",
    }


def _translation(vector: Any, depends_on: str = ".") -> dict[str, Any]:
    """Return the attributes of an axis that moves by millimetres."""
    return {
        "transformation_type": "translation",
        "units": "mm",
        "vector": vector,
        "depends_on": depends_on,
    }


def _write_sample(entry: h5py.Group, plan: ScanPlan) -> None:
    """Write the goniometer and the beam at the sample."""
    sample = _group(entry, "sample", "NXsample")
    _fields(sample, name=plan.stem, depends_on=_OMEGA)
    axes = _group(sample, "transformations", "NXtransformations")
    turning = _rotation(plan.geometry.rotation_axis)
    _axis(axes, "omega", plan.omega, turning)
    end = plan.omega + plan.omega_increment
    _fields(axes, units="deg", omega_end=end, omega_increment_set=plan.omega_increment)
    axes["omega_end"].attrs["transformation_type"] = "rotation"
    for name, positions in plan.translations.items():
        _axis(axes, name, positions, _translation(_TRANSLATION_AXES[name], _OMEGA))
    _write_beam(sample, plan)


def _write_beam(parent: h5py.Group, plan: ScanPlan) -> None:
    """Write the beam."""
    beam = _group(parent, "beam", "NXbeam")
    _fields(beam, units="angstrom", incident_wavelength=plan.geometry.wavelength)
    _fields(beam, units="Hz", total_flux=1e12)


def _write_source(entry: h5py.Group) -> None:
    """Write where the beam would come from."""
    source = _group(entry, "source", "NXsource")
    _fields(source, name="Simulated source", type="Synchrotron X-ray Source")
    source["name"].attrs["short_name"] = "SIM"


def _write_instrument(entry: h5py.Group, plan: ScanPlan) -> None:
    """Write the beamline with its detector."""
    instrument = _group(entry, "instrument", "NXinstrument")
    _fields(instrument, name="SIMULATED BEAMLINE")
    instrument["name"].attrs["short_name"] = "SIM"
    _write_beam(instrument, plan)
    attenuator = _group(instrument, "attenuator", "NXattenuator")
    _fields(attenuator, attenuator_transmission=1.0)
    _write_detector(instrument, plan)


def _write_detector(instrument: h5py.Group, plan: ScanPlan) -> None:
    """Write what the detector is, where it stands and how it counted."""
    geometry, model = plan.geometry, plan.geometry.detector
    detector = _group(instrument, "detector", "NXdetector")
    _fields(detector, description=model.description, type="Pixel", depends_on=_DET_Z)
    _fields(detector, sensor_material="Si")
    _fields(detector, units="mm", sensor_thickness=model.sensor_mm)
    pixel = model.pixel_mm
    _fields(detector, units="mm", x_pixel_size=pixel, y_pixel_size=pixel)
    slow, fast = geometry.beam_centre
    _fields(detector, units="pixels", beam_center_x=fast, beam_center_y=slow)
    metres = geometry.distance_mm / 1e3
    _fields(detector, units="m", distance=metres, detector_distance=metres)
    seconds = plan.exposure_time
    _fields(detector, units="s", count_time=seconds, frame_time=seconds)
    _fields(detector, bit_depth_readout=BIT_DEPTH, bit_depth_image=BIT_DEPTH)
    _fields(detector, saturation_value=SATURATED, underload_value=0)
    _fields(detector, countrate_correction_applied=True, pixel_mask_applied=True)
    detector["pixel_mask"] = h5py.ExternalLink(f"{plan.stem}_meta.h5", "/mask")
    own_words = _group(detector, "detectorSpecific", "NXcollection")
    _fields(own_words, nimages=len(plan), ntrigger=1)
    axes = _group(detector, "transformations", "NXtransformations")
    _axis(axes, "det_z", geometry.distance_mm, _translation([0.0, 0.0, 1.0]))
    _write_module(detector, plan)


def _write_module(detector: h5py.Group, plan: ScanPlan) -> None:
    """Write where the pixels are, relative to where the beam hits the detector."""
    geometry = plan.geometry
    module = _group(detector, "module", "NXdetector_module")
    _fields(module, data_origin=np.array([0, 0], np.uint32))
    _fields(module, data_size=np.array(plan.shape, np.uint32))
    _fields(module, data_stride=np.array([1, 1], np.uint32))
    offset = geometry.origin_mm - np.array([0, 0, geometry.distance_mm])
    length = np.linalg.norm(offset)
    _axis(module, "module_offset", length, _translation(offset / length, _DET_Z))
    for name, direction in (
        ("fast_pixel_direction", geometry.fast_axis),
        ("slow_pixel_direction", geometry.slow_axis),
    ):
        step = _translation(direction, _MODULE_OFFSET)
        _axis(module, name, geometry.detector.pixel_mm, step)
    for name in ("module_offset", "fast_pixel_direction", "slow_pixel_direction"):
        module[name].attrs["offset"] = [0.0, 0.0, 0.0]


def _write_data(
    entry: h5py.Group, names: FileNames, plan: ScanPlan, images_per_file: int
) -> None:
    """Write links to the images and to the axes that moved between them."""
    data = _group(entry, "data", "NXdata")
    data.attrs["signal"] = "data"
    data.attrs["axes"] = "omega"
    link_data(data, names, plan, images_per_file)
    axes = entry["sample/transformations"]
    for name in ("omega", *plan.translations):
        data[name] = axes[name]
