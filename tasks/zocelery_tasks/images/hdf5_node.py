"""Groups and datasets of HDF5 files, found through links into other files."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from zocelery.errors import ImageError
from zocelery_tasks.images.hdf5_file import Hdf5File, open_hdf5

_MAX_LINKS = 16


@dataclass(frozen=True, eq=False)
class Node:
    """A group or dataset and the file that it lies in."""

    file: Hdf5File
    item: h5py.Group | h5py.Dataset

    def __str__(self) -> str:
        """Return file and path, for messages."""
        return f"{self.file.path}: {self.item.name}"

    def find(self, path: str) -> "Node | None":
        """Return what `path` leads to from here, through links of any kind.

        None if there is nothing of this name.

        Raises:
            ImageError: if a linked file is missing or cannot be read.
        """
        node: Node | None = self
        names = _split(self, path)
        links = 0
        while names and node is not None:
            name = names.pop(0)
            if name.startswith("/"):
                node = Node(node.file, node.item.file)
                continue
            node, target = node._follow(name)
            links += target is not None
            if links > _MAX_LINKS:
                raise ImageError(f"{self}: links to {path} lead nowhere")
            if node is not None and target is not None:
                names = [*_split(node, target), *names]
        return node

    def _follow(self, name: str) -> "tuple[Node | None, str | None]":
        """Return the child `name`, or for a link where to go on and by which path."""
        if name in (".", ".."):
            return Node(
                self.file, self.item.parent if name == ".." else self.item
            ), None
        if not isinstance(self.item, h5py.Group):
            return None, None
        link = self.item.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            other = open_hdf5(self.file.sibling(link.filename))
            return Node(other, other.handle), link.path
        if isinstance(link, h5py.SoftLink):
            return self, link.path
        child = None if link is None else self.item.get(name)
        if isinstance(child, h5py.Dataset) and child.external:
            raise ImageError(f"{self}: {name} lies in a file that is no HDF5 file")
        return (None if child is None else Node(self.file, child)), None

    def children(self, nx_class: str) -> "Iterator[Node]":
        """Iterate over the groups in this one that are of a NeXus class, by name.

        Links to files that are missing are passed over.
        """
        for name in sorted(self.item):
            try:
                child = self.find(name)
            except ImageError:
                continue
            if child is None or not isinstance(child.item, h5py.Group):
                continue
            if child.attribute_text("NX_class") == nx_class:
                yield child

    def text(self, path: str, default: str = "") -> str:
        """Return the text of a dataset, `default` if there is none."""
        node = self.find(path)
        if node is None or not isinstance(node.item, h5py.Dataset):
            return default
        return _as_text(node.content())

    def content(self) -> Any:
        """Return all that this dataset holds.

        Raises:
            ImageError: it is put together from files outside of the allowed folders.
        """
        if self.item.is_virtual:  # HDF5 itself would open them
            for source in self.item.virtual_sources():
                if source.file_name != ".":
                    self.file.sibling(source.file_name)
        return self.item[()]

    def numbers(self) -> npt.NDArray[np.float64]:
        """Return the numbers of this dataset, at least one.

        Raises:
            ImageError: if they are no numbers, or not finite.
        """
        try:
            numbers = np.atleast_1d(np.asarray(self.content(), dtype=np.float64))
        except (TypeError, ValueError, OSError, AttributeError) as error:
            raise ImageError(f"{self} holds no number") from error
        if numbers.size == 0 or not np.isfinite(numbers).all():
            raise ImageError(f"{self} holds no finite number")
        return numbers.reshape(-1)

    def number(
        self,
        path: str,
        per_unit: Callable[[str], float] | None = None,
        unit: str | None = None,
    ) -> float | None:
        """Return the (first) number of a dataset, None if there is none.

        Args:
            path: to the dataset, from here.
            per_unit: what turns the dataset's unit into a factor.
            unit: of a dataset that does not name one.

        Raises:
            ImageError: if it is no finite number or has a strange unit.
        """
        node = self.find(path)
        if node is None:
            return None
        factor = 1.0 if per_unit is None else node.factor(per_unit, unit)
        return float(node.numbers()[0]) * factor

    def factor(
        self, per_unit: Callable[[str], float], unit: str | None, key: str = "units"
    ) -> float:
        """Return what this dataset's unit, given by attribute `key`, is worth.

        Raises:
            ImageError: if the unit is missing, without a default `unit`, or strange.
        """
        name = self.attribute_text(key) or unit
        if name is None:
            raise ImageError(f"{self} has no {key}")
        try:
            return per_unit(name)
        except KeyError:
            raise ImageError(f"{self} has unknown {key} {name!r}") from None

    def attribute_text(self, key: str) -> str:
        """Return an attribute as text, empty if there is none."""
        return _as_text(self.item.attrs.get(key, ""))

    def attribute_vector(self, key: str) -> tuple[float, float, float] | None:
        """Return an attribute of three finite numbers, None if there is none.

        Raises:
            ImageError: if it is anything else.
        """
        value = self.item.attrs.get(key)
        if value is None:
            return None
        try:
            x, y, z = (float(number) for number in np.asarray(value).reshape(-1))
        except (TypeError, ValueError):
            raise ImageError(f"{self} has a strange {key}") from None
        if not all(math.isfinite(number) for number in (x, y, z)):
            raise ImageError(f"{self} has a strange {key}")
        return x, y, z


def _split(node: Node, path: str) -> list[str]:
    names = [name for name in path.split("/") if name]
    return ["/", *names] if path.startswith("/") else names


def _as_text(value: object) -> str:
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size else ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
