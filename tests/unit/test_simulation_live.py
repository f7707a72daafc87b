"""Live pace, on a clock that the test turns."""

import pytest

from zocelery_tasks.simulation.live import Spool, write_at_pace


class Clock:
    """A clock that moves only while somebody sleeps or works."""

    def __init__(self):
        self.now = 100.0

    def read(self):
        return self.now

    def pass_by(self, seconds):
        assert seconds > 0
        self.now += seconds


def write_images(count, rate, work=lambda index: 0.001):
    clock = Clock()
    times = []

    def write(index):
        clock.pass_by(work(index))
        times.append(clock.now - 100)

    pace = write_at_pace(count, rate, write, clock.read, clock.pass_by)
    return times, pace


def test_each_image_is_written_when_its_exposure_ends():
    times, pace = write_images(4, 10)
    assert times == pytest.approx([0.101, 0.201, 0.301, 0.401])
    assert pace.achieved_hz == pytest.approx(10, rel=0.01)
    assert pace.worst_delay_s == pytest.approx(0.001)


def test_one_slow_write_delays_no_later_image():
    times, pace = write_images(4, 10, lambda index: 0.15 if index == 1 else 0.001)
    assert times == pytest.approx([0.101, 0.35, 0.351, 0.401])
    assert pace.worst_delay_s == pytest.approx(0.15)


def test_a_disk_that_is_too_slow_shows_in_the_rate():
    _, pace = write_images(20, 10, lambda index: 0.2)
    assert pace.achieved_hz == pytest.approx(5, rel=0.05)
    assert pace.asked_hz == 10
    assert pace.worst_delay_s > 1


def test_a_spool_gives_back_every_image_in_every_format(tmp_path):
    with Spool(tmp_path) as spool:
        spool.append((b"one", b"eins"), None)
        spool.append((b"two", b""), None)
        assert spool.read(1) == (b"two", b"")
        assert spool.read(0) == (b"one", b"eins")
    assert not list(tmp_path.iterdir())


def test_a_spool_stores_images_of_equal_key_once(tmp_path):
    with Spool(tmp_path) as spool:
        for key in (7, None, 7, 8):
            spool.append((f"image {key}".encode(),), key)
        assert [spool.read(i) for i in range(4)] == [
            (b"image 7",),
            (b"image None",),
            (b"image 7",),
            (b"image 8",),
        ]
        assert spool._file.tell() <= len(b"image 7image Noneimage 8")
