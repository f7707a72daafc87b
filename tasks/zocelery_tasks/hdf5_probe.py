"""Which images of an HDF5 file have been written, also while they are being written.

An image is there when HDF5 has stored its chunks: the dataset itself says nothing, it
answers fill values for what is not there.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py

from zocelery_tasks.hdf5_live_files import Found, NotReadyError, OpenFile, OpenFiles
from zocelery_tasks.images.hdf5_chunks import FrameChunks

MOST_IMAGES = 10_000_000
"""A virtual dataset that claims to have more is not looked through."""
_BLOCK_NAME = re.compile(r"data_\d+")
_COUNT_PATHS = tuple(
    f"instrument/detector/detectorSpecific/{name}" for name in ("nimages", "ntrigger")
)


class StoredImages:
    """A dataset that holds images, or says where they are held."""

    def __init__(
        self, files: OpenFiles, anchor: Path, name: str, linked: str | None = None
    ) -> None:
        """Take a dataset which need not be there yet.

        Args:
            files: in which it is looked for.
            anchor: file that holds the dataset, or the link to the file that does.
            name: path of the dataset in its file.
            linked: the file's name if it is another one, as `anchor` has it.
        """
        self.short_name = name.rpartition("/")[2]
        self._files = files
        self._anchor = anchor
        self._name = name
        self._linked = linked
        self._found: Found | None = None
        self._storage: Storage | None = None
        self._look = 0
        self._final_count: int | None = None
        self._map_length = -1
        self._sources: dict[int, list[tuple[StoredImages, int]]] = {}

    def found(self) -> Found:
        """Return the dataset as it is at this look.

        Raises:
            NotReadyError: if it is not there yet.
        """
        if self._found is not None and self._look == self._files.look:
            return self._found
        known = self._found
        if known is None or self._files.get(known.file.path) is not known.file:
            known = self._locate()
            self._storage = Storage(known.item)
            self._map_length = -1
        if known.file.is_live or _may_grow(known.item):
            known.item.refresh()
        self._found, self._look = known, self._files.look
        return known

    def _locate(self) -> Found:
        if self._linked is None:
            file = self._files.get(self._anchor)
        else:
            file = self._files.linked(self._anchor, self._linked)
        found = self._files.find(file, self._name)
        if not isinstance(found.item, h5py.Dataset) or found.item.ndim not in (2, 3):
            raise NotReadyError(f"{file.path}: {self._name} holds no images")
        return found

    def count(self) -> int:
        """Return how many images there is room for by now."""
        if self._final_count is not None:
            return self._final_count
        item = self.found().item
        return int(item.shape[0]) if item.ndim == 3 else 1

    def final_count(self) -> int | None:
        """Return how many images there will be, None if it may still grow.

        Once known it is remembered, so that files that are complete are left alone.
        """
        if self._final_count is None and self._is_final():
            self._final_count = self.count()
        return self._final_count

    def _is_final(self) -> bool:
        found = self.found()
        if not _may_grow(found.item):
            return True
        if found.item.is_virtual:
            sources = {s for parts in self._source_map().values() for s, _ in parts}
            final = sources and all(s.final_count() is not None for s in sources)
        else:
            final = found.file.writer_has_closed()
        if final:
            found.item.refresh()
        return bool(final)

    def require(self, index: int) -> None:
        """Raise NotReadyError unless image `index`, from 0, has been written."""
        if index >= self.count():
            raise NotReadyError(f"{self._label()} has {self.count()} images by now")
        found = self.found()
        if self._storage is not None and not self._storage.is_virtual:
            if not self._storage.holds(found, index):
                raise NotReadyError(f"{self._label()}: image {index + 1} not written")
            return
        sources = self._source_map().get(index)
        if not sources:
            raise NotReadyError(f"{self._label()}: image {index + 1} has no source")
        for stored, place in sources:
            stored.require(place)

    def _label(self) -> str:
        return f"{self._linked or self._anchor}: {self._name}"

    def _source_map(self) -> "dict[int, list[tuple[StoredImages, int]]]":
        """Return for each image of a virtual dataset where its parts are stored."""
        if self._map_length != self.count():
            self._map_length = self.count()
            if self._map_length > MOST_IMAGES:
                raise NotReadyError(f"{self._label()}: {self._map_length} images")
            self._sources = {}
            known: dict[tuple[str, str], StoredImages] = {}
            own = self.found().file.path
            for index, file_name, name, place in _virtual_map(self.found().item):
                key = (file_name, name)
                if key not in known:
                    linked = None if file_name == "." else file_name
                    known[key] = StoredImages(self._files, own, name, linked)
                self._sources.setdefault(index, []).append((known[key], place))
        return self._sources


def _may_grow(item: h5py.Dataset) -> bool:
    return item.ndim == 3 and item.maxshape[0] is None


class Storage:
    """How the images of a dataset lie in its file; worked out once for all of them."""

    def __init__(self, item: h5py.Dataset) -> None:
        """Take the layout of `item`."""
        layout = item.id.get_create_plist().get_layout()
        self.is_virtual = layout == h5py.h5d.VIRTUAL
        self._is_compact = layout == h5py.h5d.COMPACT
        self._chunks = FrameChunks(item) if item.chunks else None

    def holds(self, found: Found, index: int) -> bool:
        """Whether all of an image is in the file: chunks come when they are written."""
        if self._chunks is None:
            return self._is_compact or found.item.id.get_offset() is not None
        held = self._chunks.hold(found.item, index)
        return held and (
            not found.file.is_live or self._chunks.reach(found.item, index)
        )


def _virtual_map(item: h5py.Dataset) -> Iterator[tuple[int, str, str, int]]:
    """Yield image, file, dataset and image there for each part of a virtual dataset."""
    count = item.shape[0] if item.ndim == 3 else 1
    for source in item.virtual_sources():
        images = _frames(source.vspace, count)
        places = _frames(source.src_space, count)
        for (index, block), (place, _) in zip(images, places, strict=False):
            names = (source.file_name, source.dset_name)
            # HDF5 puts the number of the block for %b into names
            file_name, name = (text.replace("%b", str(block)) for text in names)
            yield index, file_name, name, place


def _frames(space: h5py.h5s.SpaceID, count: int) -> Iterator[tuple[int, int]]:
    """Yield each image that a selection takes, and the number of its block."""
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        yield from ((index, 0) for index in range(count))
    elif len(space.shape) < 3:
        yield 0, 0
    elif space.is_regular_hyperslab():
        start, stride, blocks, block = (
            part[0] for part in space.get_regular_hyperslab()
        )
        # a selection without end ends where the dataset does
        for number in range(min(blocks, count)):
            for within in range(min(block, count)):
                yield start + number * stride + within, number
    else:
        low, high = space.get_select_bounds()
        yield from ((index, 0) for index in range(low[0], high[0] + 1))


class Images:
    """All images of a master file, in the order of their numbers."""

    def __init__(self, files: OpenFiles, master: OpenFile) -> None:
        """Find out where the images of `master` are, or will be.

        They are what the `signal` of the NeXus entry's data group names, or its
        datasets `data_000001` and so on, or its dataset `data`.

        Raises:
            NotReadyError: if the file does not say so yet.
        """
        self.master = master
        self._files = files
        entry = _member_of_class(master.handle, "entry", "NXentry") or "/"
        group = "/"
        if entry != "/":
            group = _member_of_class(master.handle[entry], "data", "NXdata") or entry
        self._entry = entry
        self._announced_count: int | None = None
        self._blocks = [
            StoredImages(files, master.path, f"{group}/{name}")
            for name in _dataset_names(master.handle[group])
        ]
        if not self._blocks:
            raise NotReadyError(f"{master.path}: {group} has no images (yet)")

    def total(self) -> int | None:
        """Return how many images there will be, None if nothing says so yet."""
        announced = self._announced()
        try:
            counts = [block.final_count() for block in self._blocks]
        except NotReadyError:
            return announced
        known = [count for count in counts if count is not None]
        if len(known) < len(counts):
            return announced
        if len(self._blocks) == 1 and not self._is_block_of_many():
            return known[0]
        return max(sum(known), announced or 0)

    def require(self, index: int) -> None:
        """Raise NotReadyError unless image `index`, from 0, has been written."""
        for block in self._blocks:
            count = block.count()
            if index < count or block is self._blocks[-1]:
                block.require(index)
                return
            index -= count

    def _is_block_of_many(self) -> bool:
        """Whether the detector adds further datasets as it goes on."""
        return _BLOCK_NAME.fullmatch(self._blocks[0].short_name) is not None

    def _announced(self) -> int | None:
        """Return how many images the detector was told to take."""
        if self._announced_count:
            return self._announced_count
        numbers = []
        for path in _COUNT_PATHS:
            try:
                found = self._files.find(self.master, f"{self._entry}/{path}")
                numbers.append(int(found.item[()]))
            except (NotReadyError, TypeError, ValueError, OSError):
                numbers.append(0)
        nimages, ntrigger = numbers
        self._announced_count = nimages * max(ntrigger, 1) or None
        return self._announced_count


def _member_of_class(group: h5py.Group, usual: str, nx_class: str) -> str | None:
    """Return the name of the usual member, or else of the first of a NeXus class."""
    if isinstance(group.get(usual), h5py.Group):
        return f"{group.name.rstrip('/')}/{usual}"
    for name in sorted(group):
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            member = group[name]
            if _text(member.attrs.get("NX_class")) == nx_class:
                return str(member.name)
    return None


def _dataset_names(group: h5py.Group) -> list[str]:
    names = set(group)
    signal = _text(group.attrs.get("signal"))
    if signal in names:
        return [signal]
    blocks = sorted(name for name in names if _BLOCK_NAME.fullmatch(name))
    return blocks or [name for name in ("data",) if name in names]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class Hdf5Looker:
    """Looks which images of one master file are there."""

    def __init__(self, path: str, roots: Sequence[Path] = ()) -> None:
        """Look at the file `path`, and at those below `roots` that it links to."""
        self.path = path
        self._files = OpenFiles(roots)
        self._images: Images | None = None

    def look(
        self, numbers: list[int], first: int = 1, *, patient: bool = False
    ) -> dict[str, Any]:
        """Return which images are there.

        Args:
            numbers: of the images, from 1.
            first: image of the file that has number 1.
            patient: look at all, instead of up to the first that is not there.

        Returns:
            `present`: numbers of the images that are there; `total`: how many images
            there will be, None if nothing says so; `why`: what is missing first.
        """
        self._files.look += 1
        present: list[int] = []
        total, why = None, None
        try:
            images = self._current_images()
            total = images.total()
            for number in numbers:
                if total is not None and number + first - 1 > total:
                    break
                try:
                    images.require(number + first - 2)
                    present.append(number)
                except NotReadyError as error:
                    why = why or str(error)
                    if not patient:
                        break
        except NotReadyError as error:
            why = str(error)
        except Exception:
            # whatever HDF5 has come across in a half-written file, it reads it afresh
            self._images = None
            self._files.close()
            raise
        return {"present": present, "total": total, "why": why}

    def _current_images(self) -> Images:
        master = self._files.get(Path(self.path))
        if self._images is None or self._images.master is not master:
            self._images = Images(self._files, master)
        return self._images
