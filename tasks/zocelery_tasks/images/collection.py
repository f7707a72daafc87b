"""The images of one HDF5 master file and what they share."""

import threading
from collections import OrderedDict
from pathlib import Path

import h5py
import numpy as np

from zocelery.errors import ImageError
from zocelery_tasks.images.beam import Beam
from zocelery_tasks.images.frames import find_frames
from zocelery_tasks.images.hdf5_detector import DetectorEntry
from zocelery_tasks.images.hdf5_file import Hdf5File, open_hdf5
from zocelery_tasks.images.hdf5_node import Node
from zocelery_tasks.images.image import Image, PixelBuffers
from zocelery_tasks.images.units import KEV_ANGSTROM, angstrom_per

_MAX_KNOWN = 8
"""Masters whose geometry and mask are remembered."""


class Collection:
    """The images that a NXmx file or an Eiger master file describes."""

    def __init__(self, master: Hdf5File) -> None:
        """Read what the images share.

        Raises:
            ImageError: if it is not such a file, or an entry is missing or strange.
        """
        self.master = master
        entry = _entry(Node(master, master.handle))
        instrument = _child(entry, "NXinstrument", "instrument")
        self._detector = DetectorEntry(_detector(instrument))
        self._frames = find_frames(entry)
        self._wavelengths = _wavelengths(entry, instrument)

    def __len__(self) -> int:
        """Return how many images there are by now."""
        return len(self._frames)

    def image(self, image_number: int, buffers: PixelBuffers | None = None) -> Image:
        """Return an image.

        Args:
            image_number: 1-based.
            buffers: where the pixels go; a new array if not given.

        Raises:
            ImageError: if there is no such image (yet) or it cannot be read.
        """
        file = self.master.path
        frame = self._frames.find(image_number)
        detector = self._detector.detector(frame.shape, frame.dtype)
        pixels = frame.read(buffers)
        return Image(file, image_number, pixels, detector, self._beam(image_number))

    def _beam(self, image_number: int) -> Beam:
        """Return the beam of an image: one for all, or one for each."""
        if len(self._wavelengths) == 1:
            return Beam(self._wavelengths[0])
        if image_number > len(self._wavelengths):
            raise ImageError(
                f"{self.master.path}: no wavelength for image {image_number}"
            )
        return Beam(self._wavelengths[image_number - 1])


class _KnownCollections:
    """The collections that this process has met, least recently used first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, Collection] = OrderedDict()

    def get(self, file: Path) -> Collection:
        """Return the collection of a master file, read once."""
        master = open_hdf5(file)
        with self._lock:
            collection = self._known.pop(file, None)
            if collection is None or collection.master is not master:
                collection = Collection(master)
            self._known[file] = collection
            if len(self._known) > _MAX_KNOWN:
                self._known.popitem(last=False)
            return collection


_known_collections = _KnownCollections()


def open_collection(file: Path) -> Collection:
    """Return the collection of a master file; remembered unless the file changes.

    Raises:
        ImageError: if it is not such a file, is missing or cannot be read.
        TemporaryError: if the file server fails.
    """
    return _known_collections.get(file)


def _entry(root: Node) -> Node:
    """Return the entry of the collection: files may hold others as well."""
    entries = list(root.children("NXentry"))
    if entries:
        return next(filter(_is_nxmx, entries), entries[0])
    found = root.find("entry")
    if found is None or not isinstance(found.item, h5py.Group):
        raise ImageError(f"{root.file.path} has no NXentry")
    return found


def _is_nxmx(entry: Node) -> bool:
    return entry.text("definition") == "NXmx"


def _detector(instrument: Node) -> Node:
    """Return the detector, which may stand beside cameras and diodes."""
    for node in instrument.children("NXdetector"):
        if any(node.children("NXdetector_module")):
            return node
    return _child(instrument, "NXdetector", "detector")


def _child(parent: Node, nx_class: str, name: str) -> Node:
    child = next(parent.children(nx_class), None) or parent.find(name)
    if child is None or not isinstance(child.item, h5py.Group):
        raise ImageError(
            f"{parent} has no {nx_class}: not the master file of a collection"
        )
    return child


def _wavelengths(entry: Node, instrument: Node) -> list[float]:
    """Return the wavelength in Å: one for all images, or one for each.

    Several with weights are the spectrum of a beam, of which DIALS takes the first.
    """
    found = list(_wavelength_nodes(entry, instrument))
    if found:
        factor = found[0].factor(angstrom_per, "angstrom")
        wavelengths = found[0].numbers() * factor
        beam = Node(found[0].file, found[0].item.parent)
        if beam.find("incident_wavelength_weights") is not None:
            wavelengths = wavelengths[:1]
    else:
        energy = instrument.number("detector/detectorSpecific/photon_energy")
        if not energy:
            raise ImageError(f"{instrument} lacks incident_wavelength")
        wavelengths = np.array([1000 * KEV_ANGSTROM / energy])
    if wavelengths.min() <= 0:
        raise ImageError(f"{instrument}: wavelength is {wavelengths.min():g}")
    return [float(wavelength) for wavelength in wavelengths]


def _wavelength_nodes(entry: Node, instrument: Node) -> list[Node]:
    samples = list(entry.children("NXsample"))
    beams = [
        beam for node in (instrument, *samples) for beam in node.children("NXbeam")
    ]
    found = (beam.find("incident_wavelength") for beam in beams)
    return [node for node in found if node is not None]
