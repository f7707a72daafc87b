"""`spotfinding`: how fast an image is analysed, beside DIALS."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks.contests import KERNEL_ONLY, STEPS, Row, Step
from benchmarks.dials import DIALS_PYTHON, Dials, open_dials
from benchmarks.images import Sample, given_samples, overdispersed, simulated_sample
from benchmarks.machine import pin_to_core, usable_cores
from benchmarks.report import Report, progress
from benchmarks.two_processes import compare_one_and_two
from zocelery.servers import scratch_folder

DETECTORS = ("eiger2_16m", "eiger2_4m", "pilatus3_6m")
BACKGROUNDS = (0.1, 1.0, 10.0)
ABOUT = """\
`ms`: CPU time on one core, median over rounds in which all take turns. `ratio`: the
peer's time over ours, the median of the rounds' ratios and, in brackets, between which
values half of them lie; `times memcpy`: our time over that of a copy of the image in
memory. `mean count` is that of the pixels that count. `same answer`: equal strong
pixels (kernel), equally many spots (spots, whole image). `decode` reads an image of a
file that is open and decompresses it. `whole image` is opening (our HDF5 files stay
open from image to image), decompressing, finding spots and the nine statistics; DIALS's
is `find_spots_server.work`."""


def _read_numbers(
    context: click.Context, option: click.Parameter, text: str
) -> tuple[float, ...]:
    """Return numbers with commas between them."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not like 0.1,1,10") from None


@click.command("spotfinding")
@click.option(
    "--detector",
    "detectors",
    multiple=True,
    default=DETECTORS,
    show_default=True,
    help="One of the simulator's; again for more.",
)
@click.option(
    "--backgrounds",
    callback=_read_numbers,
    metavar="N,N...",
    default=",".join(f"{level:g}" for level in BACKGROUNDS),
    show_default=True,
    help="Counts per pixel at the solvent ring. Above 1000 even noise is added, and "
    "only the kernel is measured.",
)
@click.option(
    "--overdispersed",
    "width",
    type=float,
    help="Also the kernel on images with noise whose mean varies from pixel to pixel: "
    "the variance of the mean over its square.",
)
@click.option(
    "--images",
    multiple=True,
    metavar="FILE[:FIRST:LAST]",
    help="Your own instead of simulated ones; again for more.",
)
@click.option("--kernel", "only_kernel", is_flag=True, help="Nothing but the kernel.")
@click.option("--rounds", default=9, show_default=True, help="Turns of each.")
@click.option("--core", type=int, help="To stay on.  [default: the last]")
@click.option(
    "--dials-python", default=DIALS_PYTHON, show_default=True, help="That has DIALS."
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def command(
    detectors: tuple[str, ...],
    backgrounds: tuple[float, ...],
    width: float | None,
    images: tuple[str, ...],
    only_kernel: bool,
    rounds: int,
    core: int | None,
    dials_python: str,
    as_json: bool,
) -> None:
    """Time kernels, decompression and whole images beside DIALS, on one core.

    DIALS is asked in a process of its own, call by call in turn with ours; without
    DIALS the rest is measured. Then whole images in two processes beside one.
    """
    cores = usable_cores()
    report = Report("spotfinding", ABOUT, as_json=as_json)
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder("zocelery-benchmark-"))
        samples = (
            given_samples(images)
            if images
            else simulated_samples(folder, detectors, backgrounds, width)
        )
        pin_to_core(core)
        dials = stack.enter_context(open_dials(dials_python))
        report.remark(_say_peer(dials, dials_python))
        steps = KERNEL_ONLY if only_kernel else STEPS
        files = measure_samples(report, samples, steps, dials, rounds)
        if not only_kernel:
            compare_one_and_two(report, files, cores, rounds)


def simulated_samples(
    folder: Path,
    detectors: tuple[str, ...],
    backgrounds: tuple[float, ...],
    width: float | None,
) -> Iterator[Sample]:
    """Yield an image for each detector and background, with `width` a second one.

    One at a time, because the largest take memory.
    """
    for detector in detectors:
        for level in backgrounds:
            sample = simulated_sample(folder, detector, level)
            yield sample
            if width is not None:
                yield overdispersed(sample, level, width)


def measure_samples(
    report: Report,
    samples: Iterator[Sample],
    steps: Mapping[str, Step],
    dials: Dials | None,
    rounds: int,
) -> list[Sample]:
    """Print a table for each step; return one sample of each title that has a file."""
    tables: dict[str, list[Row]] = defaultdict(list)
    files: dict[str, Sample] = {}
    for sample in samples:
        progress(f"{sample.title}, mean count {sample.mean_count:.3g} ...")
        for step, (make, needs_file) in steps.items():
            if sample.file is not None or not needs_file:
                tables[step] += make(sample, dials).run(sample, rounds)
        if sample.file is not None:
            files.setdefault(sample.title, sample)
    for step, rows in tables.items():
        report.table(step, rows)
    return list(files.values())


def _say_peer(dials: Dials | None, python: str) -> str:
    if dials is None:
        return f"DIALS is not there ({python} has none): no ratios to it."
    return f"Beside {dials.version}, which follows rule {dials.rule}."
