"""One grid scan with a long task beside it, and everything that is left of it."""

import json
import os
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.site import Site, wait_until
from zocelery.run import Run, as_result, is_result


@dataclass(frozen=True)
class Scan:
    """Images that were simulated beforehand, to be handed out one after another."""

    files: tuple[Path, ...]
    steps: tuple[int, int]
    rate: float
    """Images each second."""
    long_seconds: float
    """How long the task beside the scan takes."""

    @property
    def grid(self) -> str:
        """The grid in short."""
        return f"{self.steps[0]}x{self.steps[1]}"


@dataclass(frozen=True)
class Outcome:
    """What a run has left, without ids, times, hosts and folders."""

    state: str
    error: str | None
    results: str
    """What each node answered, as JSON."""
    members: dict[str, str]
    """What was told of each image, as JSON, by number."""
    told: dict[str, int]
    """How often each image was told of."""
    rows: Counter[tuple[str, str]]
    """Nodes in the history and how they ended."""
    done: Counter[str]
    """Tries in the history that ended well, by node."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)


class GridRun:
    """A grid scan that is written while it is analysed.

    Beside the node that finds the centre a second one gathers the images: it waits at a
    gate, which is open unless a test closes it.
    """

    def __init__(self, site: Site, scan: Scan, folder: Path, **centre: Any) -> None:
        """Prepare a run in `folder`; `centre` are parameters of the last node."""
        folder.mkdir(parents=True, exist_ok=True)
        self.site, self.scan, self.folder = site, scan, folder
        self.journal = folder / "journal"
        self.journal.touch()
        self.gate = folder / "gate"
        self.gate.touch()
        self._centre = centre
        self._fed = threading.Event()
        self._paused = threading.Event()
        self._feeder = threading.Thread(target=self._feed, daemon=True)
        self.run: Run

    def start(self, **options: Any) -> "GridRun":
        """Submit the run and begin to write images."""
        self.run = self.site.submit(self.document(), **options)
        self._feeder.start()
        return self

    def document(self) -> dict[str, Any]:
        """Return the recipe: watch, analyse, centre, and a long task beside them."""
        count = len(self.scan.files)
        log = {"journal": str(self.journal)}
        seconds = {"seconds": self.scan.long_seconds}
        return {
            "nodes": {
                "watch": {
                    "task": "file_watcher",
                    "parameters": {
                        "images": f"{self.folder}/x_%05d.cbf:1:{count}",
                        "live": True,
                        "timeout": 120,
                    },
                    "output": {"every": "analyse"},
                },
                "analyse": {
                    "task": "per_image_analysis",
                    "output": ["centre", "tally"],
                },
                "tally": {
                    "task": "faults.gather",
                    "gather": True,
                    "parameters": {**log, "gate": str(self.gate)},
                },
                "centre": {
                    "task": "xray_centering",
                    "gather": True,
                    "parameters": {
                        "grid": self.scan.grid,
                        "output": str(self.folder / "centre.json"),
                        **self._centre,
                    },
                    "output": "after",
                },
                "after": {"task": "echo"},
                "long": {
                    "task": "faults.long",
                    "parameters": {**log, **seconds},
                    "output": "last",
                },
                "last": {"task": "echo", "parameters": {"last": True}},
            },
            "start": ["watch", ["long", {"x": 1}]],
        }

    def images_done(self) -> int:
        """Return how many images have been analysed."""
        counts = self.site.deployment.store.counts(self.run.id)
        return counts.get("analyse", {}).get("done", 0)

    def await_images(self, fraction: float) -> "GridRun":
        """Wait until this part of the images has been analysed."""
        wanted = fraction * len(self.scan.files)
        wait_until(lambda: self.images_done() >= wanted, f"{wanted:.0f} images")
        return self

    def outcome(self, seconds: float = 250.0) -> Outcome:
        """Wait for the end of the run and return what it left."""
        self._feeder.join(seconds)
        try:
            status = self.run.wait(seconds)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.situation()}") from None
        return self._look(status.state, status.error)

    def situation(self) -> str:
        """Return how far the run is, for the message of a test that failed."""
        store = self.site.deployment.store
        counts, gathers = store.counts(self.run.id), store.awaited_gathers(self.run.id)
        return f"{counts} {list(gathers.values())}\n{self.site.logs()}"

    def journal_lines(self) -> list[list[str]]:
        """Return what the tasks wrote: word, node, item, process, time."""
        return [line.split() for line in self.journal.read_text().splitlines()]

    def journal_of(self, node: str) -> list[list[str]]:
        """Return what the tasks of one node wrote."""
        return [line for line in self.journal_lines() if line[1] == node]

    def is_feeding(self) -> bool:
        """Whether images are still being written."""
        return self._feeder.is_alive()

    def _look(self, state: str, error: str | None) -> Outcome:
        history = self.site.deployment.history
        events = [as_result(e) for e in self.run.events(wait=False) if is_result(e)]
        images = [e for e in events if e["node"] == "analyse"]
        nodes, tries = history.run_nodes(self.run.id), history.run_tries(self.run.id)
        return Outcome(
            state=state,
            error=error,
            results=self._plain(self.run.results()),
            members={e["item"]: self._plain(e) for e in images},
            told=dict(Counter(e["item"] for e in images)),
            rows=Counter((row["node"], row["state"]) for row in nodes),
            done=Counter(row["node"] for row in tries if row["state"] == "done"),
            failures=self.run.failures(),
            counts=history.run(self.run.id)["counts"],
        )

    def _plain(self, value: Any) -> str:
        text = json.dumps(without_times(value), sort_keys=True)
        return text.replace(str(self.folder), "FOLDER")

    def _feed(self) -> None:
        for number, file in enumerate(self.scan.files, start=1):
            os.link(file, self.folder / f"x_{number:05d}.cbf")
            self._fed.wait(1 / self.scan.rate)


def without_times(value: Any) -> Any:
    """Return `value` without what differs from run to run by its nature."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k != "file-seen-at"}
        return {k: without_times(v) for k, v in kept.items()}
    return [without_times(v) for v in value] if isinstance(value, list) else value
