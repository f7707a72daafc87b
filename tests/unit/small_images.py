"""Image files of a few pixels, written without the code under test."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

MINI_HEADER = {
    "Detector:": "PILATUS3 6M, S/N 60-0000",
    "2024-05-06T07:08:09.012": "",
    "Pixel_size": "172e-6 m x 172e-6 m",
    "Silicon": "sensor, thickness 0.000450 m",
    "Exposure_time": "0.0190000 s",
    "Count_cutoff": "1000 counts",
    "Wavelength": "0.90000 A",
    "Detector_distance": "0.20000 m",
    "Beam_xy": "(2.50, 1.50) pixels",
    "Detector_2theta": "0.0000 deg.",
}

SECTION = "--CIF-BINARY-FORMAT-SECTION--"


def encode_byte_offset(pixels: npt.ArrayLike) -> bytes:
    """Compress as the definition says, one difference after the other."""
    if not np.any(pixels):
        return bytes(np.size(pixels))
    stream = b""
    last = 0
    for value in np.asarray(pixels).reshape(-1).tolist():
        difference = value - last
        last = value
        if abs(difference) < 1 << 7:
            stream += struct.pack("<b", difference)
        elif abs(difference) < 1 << 15:
            stream += struct.pack("<bh", -(1 << 7), difference)
        elif abs(difference) < 1 << 31:
            stream += struct.pack("<bhi", -(1 << 7), -(1 << 15), difference)
        else:
            stream += struct.pack(
                "<bhiq", -(1 << 7), -(1 << 15), -(1 << 31), difference
            )
    return stream


def mini_header(**changes: str | None) -> str:
    """Return a mini CBF header, with values changed or, where None, left out."""
    lines = {**MINI_HEADER, **changes}
    contents = "\r\n".join(
        f"# {key} {value}".rstrip() for key, value in lines.items() if value is not None
    )
    return (
        "###CBF: VERSION 1.5, CBFlib v0.7.8 - PILATUS detectors\r\n\r\ndata_image_1\r\n"
        '\r\n_array_data.header_convention "PILATUS_1.2"\r\n'
        f"_array_data.header_contents\r\n;\r\n{contents}\r\n;\r\n"
    )


def cbf_bytes(
    pixels: npt.NDArray[Any], header: str | None = None, **mime: str | None
) -> bytes:
    """Return a CBF file, with fields of its binary section changed or left out."""
    stream = encode_byte_offset(pixels)
    fields = {
        "X-Binary-Size": str(len(stream)),
        "X-Binary-ID": "1",
        "X-Binary-Element-Type": '"signed 32-bit integer"',
        "X-Binary-Element-Byte-Order": "LITTLE_ENDIAN",
        "X-Binary-Number-of-Elements": str(pixels.size),
        "X-Binary-Size-Fastest-Dimension": str(pixels.shape[1]),
        "X-Binary-Size-Second-Dimension": str(pixels.shape[0]),
        "X-Binary-Size-Padding": "128",
    }
    conversion = mime.pop("conversions", "x-CBF_BYTE_OFFSET")
    changed = {key.replace("_", "-"): value for key, value in mime.items()}
    section = [
        "_array_data.data",
        ";",
        SECTION,
        "Content-Type: application/octet-stream;",
        f'     conversions="{conversion}"',
        "Content-Transfer-Encoding: BINARY",
        *(f"{k}: {v}" for k, v in {**fields, **changed}.items() if v is not None),
        "",
        "",
    ]
    text = (mini_header() if header is None else header) + "\r\n".join(section)
    end = f"\r\n{SECTION}--\r\n;\r\n"
    return text.encode() + b"\x0c\x1a\x04\xd5" + stream + bytes(128) + end.encode()


def write_cbf(
    file: Path, pixels: npt.NDArray[Any], header: str | None = None, **mime: str | None
) -> Path:
    """Write `cbf_bytes` to a file."""
    file.write_bytes(cbf_bytes(pixels, header, **mime))
    return file


def add_axis(
    group: h5py.Group,
    name: str,
    value: float | Sequence[float],
    vector: Sequence[float],
    depends_on: str = ".",
    **attributes: Any,
) -> None:
    """Add a NeXus transformation: in degrees with `rotation=True`, else in mm."""
    is_rotation = attributes.pop("rotation", False)
    dataset = group.create_dataset(name, data=value)
    dataset.attrs.update(
        {
            "vector": np.array(vector, dtype=float),
            "depends_on": depends_on,
            "transformation_type": "rotation" if is_rotation else "translation",
            "units": "deg" if is_rotation else "mm",
            **attributes,
        }
    )


def nexus_group(parent: h5py.Group, name: str, nx_class: str) -> h5py.Group:
    """Add a group of a NeXus class."""
    group = parent.create_group(name)
    group.attrs["NX_class"] = nx_class
    return group


def add_module(
    detector: h5py.Group,
    shape: tuple[int, int],
    corner: Sequence[float] = (3.0, 2.0, 0.0),
    name: str = "module",
    first: tuple[int, int] = (0, 0),
) -> h5py.Group:
    """Add a module with pixels of 0.1 mm and its first pixel at `corner` in mm."""
    module = nexus_group(detector, name, "NXdetector_module")
    module["data_origin"] = list(first)
    module["data_size"] = list(shape)
    add_axis(module, "module_offset", 1.0, corner, f"{detector.name}/axes/distance")
    for key, vector in (("fast", (-1, 0, 0)), ("slow", (0, -1, 0))):
        add_axis(module, f"{key}_pixel_direction", 0.1, vector, "module_offset")
    return module


def write_nxmx(
    file: Path, pixels: npt.NDArray[Any], data: Mapping[str, Any] | None = None
) -> Path:
    """Write a NXmx file with images of shape (n, slow, fast), 100 mm from the sample.

    Args:
        file: the file.
        pixels: the images; only their shape counts where `data` is given.
        data: what goes into the data group instead.
    """
    with h5py.File(file, "w") as root:
        entry = nexus_group(root, "entry", "NXentry")
        entry["definition"] = "NXmx"
        instrument = nexus_group(entry, "instrument", "NXinstrument")
        beam = nexus_group(instrument, "beam", "NXbeam")
        beam["incident_wavelength"] = 1.0
        beam["incident_wavelength"].attrs["units"] = "angstrom"
        detector = nexus_group(instrument, "detector", "NXdetector")
        detector["saturation_value"] = 500
        detector["sensor_material"] = "Silicon"
        detector["sensor_thickness"] = 0.45
        detector["sensor_thickness"].attrs["units"] = "mm"
        axes = nexus_group(detector, "axes", "NXtransformations")
        add_axis(axes, "distance", [100.0], (0, 0, 1))
        add_module(detector, pixels.shape[1:])
        group = nexus_group(entry, "data", "NXdata")
        group.attrs["signal"] = "data"
        for name, value in ({"data": pixels} if data is None else data).items():
            group[name] = value
    return file


def write_data(file: Path, pixels: npt.NDArray[Any], name: str = "data") -> Path:
    """Write a data file: one chunk for each image."""
    with h5py.File(file, "w") as root:
        root.create_dataset(name, data=pixels, chunks=(1, *pixels.shape[1:]))
    return file


def write_eiger(folder: Path, *blocks: npt.NDArray[Any]) -> Path:
    """Write a master file as DECTRIS's file writer does, and its data files."""
    master = folder / "series_1_master.h5"
    slow, fast = blocks[0].shape[1:]
    with h5py.File(master, "w") as root:
        entry = nexus_group(root, "entry", "NXentry")
        instrument = nexus_group(entry, "instrument", "NXinstrument")
        beam = nexus_group(instrument, "beam", "NXbeam")
        beam["incident_wavelength"] = np.float32(0.5)
        detector = nexus_group(instrument, "detector", "NXdetector")
        detector["description"] = np.bytes_("Dectris Eiger 1M")
        for key, value in {
            "x_pixel_size": 0.0001,
            "y_pixel_size": 0.0001,
            "beam_center_x": 5.0,
            "beam_center_y": 7.0,
            "detector_distance": 0.2,
            "sensor_material": "Si",
            "detectorSpecific/countrate_correction_count_cutoff": 300,
            "detectorSpecific/pixel_mask": np.eye(slow, fast, dtype=np.uint32),
            "geometry/orientation/value": [-1.0, 0, 0, 0, -1, 0],
            "geometry/translation/distances": [0.0005, 0.0007, -0.2],
        }.items():
            detector[key] = value
        group = nexus_group(entry, "data", "NXdata")
        for number, pixels in enumerate(blocks, start=1):
            name = f"series_1_data_{number:06d}.h5"
            group[f"data_{number:06d}"] = h5py.ExternalLink(name, "entry/data/data")
            write_data(folder / name, pixels, "entry/data/data")
    return master


SMV_HEADER = {
    "DIM": "2",
    "BYTE_ORDER": "little_endian",
    "TYPE": "unsigned_short",
    "PIXEL_SIZE": "0.1024",
    "DISTANCE": "200.0",
    "WAVELENGTH": "0.97",
    "BEAM_CENTER_X": "3.0",
    "BEAM_CENTER_Y": "5.0",
    "OSC_START": "0.0",
    "OSC_RANGE": "1.0",
    "TIME": "1.0",
}


def smv_bytes(pixels: npt.NDArray[Any], **changes: str | None) -> bytes:
    """Return a SMV file, with values of its header changed or, where None, left out.

    The pixels are written as they are, in their own byte order.
    """
    slow, fast = pixels.shape
    lines = {**SMV_HEADER, "SIZE1": str(fast), "SIZE2": str(slow), **changes}
    told = "".join(f"{k}={v};\n" for k, v in lines.items() if v is not None)
    header = f"{{\nHEADER_BYTES=  512;\n{told}}}\n".encode()
    return header.ljust(512) + pixels.tobytes()


def write_smv(file: Path, pixels: npt.NDArray[Any], **changes: str | None) -> Path:
    """Write `smv_bytes` to a file."""
    file.write_bytes(smv_bytes(pixels, **changes))
    return file
