"""`page`: the page of results, docs/performance.md."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from benchmarks.machine import REPOSITORY
from benchmarks.report import progress

PAGE = REPOSITORY / "docs" / "performance.md"
LEVELS = "0,0.1,0.3,1,3,10,30,100,300,1000,2000,5000"
SECTIONS: dict[str, list[str]] = {
    "spotfinding": [],
    "backgrounds": [
        *("--kernel", "--detector", "eiger2_4m", "--backgrounds", LEVELS),
        *("--overdispersed", "0.5"),
    ],
    "backgrounds-large": [
        *("--kernel", "--detector", "eiger2_16m", "--detector", "pilatus3_6m"),
        *("--backgrounds", "0,1,10,100,1000,5000"),
        *("--overdispersed", "0.5", "--rounds", "5"),
    ],
    "throughput": [],
    "memory": [],
    "live": [],
    "fanout": [],
    "message": [],
    "wrappers": [],
    "fuzz": ["--cases", "50000"],
}
"""Options of each section's command."""
COMMANDS = {"backgrounds": "spotfinding", "backgrounds-large": "spotfinding"}
"""Of those sections that are not called like their command."""
HEAD = """\
# Performance

What `python -m benchmarks` prints (try `--help`); nothing on this page is written by
hand. Every section says with which command, on which machine and when it was measured.

```sh
uv run python -m benchmarks page             # all of it anew: about half an hour
uv run python -m benchmarks page throughput  # one section; the others stay
```

Compare ratios, not times: those of one round are measured in turn within a second, so
that a busy machine or a slow one matters little.
"""


@click.command("page")
@click.argument("sections", nargs=-1, type=click.Choice(list(SECTIONS)))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=PAGE,
    help="[default: docs/performance.md]",
)
def command(sections: tuple[str, ...], output: Path) -> None:
    """Measure SECTIONS, by default all, and put them into the page of results."""
    for name in sections or SECTIONS:
        progress(f"{name} ...")
        fresh = _measure(name)
        known = dict(_read(output)) | {name: fresh}
        body = [known[each] for each in SECTIONS if each in known]
        output.write_text("\n".join([HEAD, *body]))


def _measure(name: str) -> str:
    """Return a section, its heading included.

    Raises:
        click.ClickException: if its command fails.
    """
    called = COMMANDS.get(name, name)
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks", called, *SECTIONS[name]],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise click.ClickException(f"{name} failed: its section stays as it is")
    _, _, rest = finished.stdout.partition("\n")
    return f"## {name}\n{rest}"


def _read(page: Path) -> Iterator[tuple[str, str]]:
    """Yield names and texts of the sections that a page has."""
    text = page.read_text() if page.exists() else ""
    for section in text.split("\n## ")[1:]:
        name = section.partition("\n")[0]
        yield name, f"## {section.rstrip()}\n"
