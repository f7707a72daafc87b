"""Which frames a virtual dataset takes from a source, and which of the source's."""

from dataclasses import dataclass

import h5py


@dataclass(frozen=True)
class FrameSelection:
    """Some of the frames of a dataset: blocks of frames at equal strides."""

    start: int = 0
    stride: int = 1
    block: int = 1
    count: int = h5py.h5s.UNLIMITED

    def position(self, index: int) -> int | None:
        """Return the place of frame `index` among those selected, None if it is not."""
        beyond = index - self.start
        number, within = divmod(beyond, self.stride)
        if beyond < 0 or number >= self.count or within >= self.block:
            return None
        return number * self.block + within

    def index(self, position: int) -> int | None:
        """Return the frame at a place among those selected, None beyond the last."""
        number, within = divmod(position, self.block)
        return (
            None
            if number >= self.count
            else (self.start + number * self.stride + within)
        )


def select_frames(
    space: h5py.h5s.SpaceID, shape: tuple[int, int]
) -> FrameSelection | None:
    """Return the frames that a selection takes, None if it does not take whole frames.

    Args:
        space: selection in a dataset of shape (frames, slow, fast).
        shape: of a whole frame, (slow, fast).
    """
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return FrameSelection()
    if not space.is_regular_hyperslab():
        return None
    slabs = [
        _Slab(*numbers) for numbers in zip(*space.get_regular_hyperslab(), strict=True)
    ]
    if len(slabs) != 3 or not all(
        slab.covers(size) for slab, size in zip(slabs[1:], shape, strict=True)
    ):
        return None
    frames = slabs[0]
    # A single block has no stride; a long one is the same as many blocks of one frame.
    stride = frames.block if frames.count == 1 else frames.stride
    return FrameSelection(frames.start, stride, frames.block, frames.count)


@dataclass(frozen=True)
class _Slab:
    """A regular selection along one dimension, in the order of HDF5's arguments."""

    start: int
    stride: int
    count: int
    block: int

    def covers(self, size: int) -> bool:
        """Whether all of a dimension of `size` is selected, in order."""
        is_dense = self.count == 1 or self.stride == self.block
        return self.start == 0 and is_dense and self.count * self.block == size
