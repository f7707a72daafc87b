"""Servers and workers of one's own: what a deployment has, for one benchmark."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine import REPOSITORY
from zocelery import servers
from zocelery.pulse import READY_VARIABLE

if TYPE_CHECKING:
    from zocelery.run import Run

READY_SECONDS = 300.0
RUN_SECONDS = 600.0


@dataclass(frozen=True)
class Deployment:
    """Private RabbitMQ and Redis; workers are started as they are needed."""

    folder: Path
    """For logs, and for what a benchmark wants to write."""

    @contextmanager
    def worker(self, queues: str, pool: str, concurrency: int) -> Iterator[int]:
        """Run `celery -A zocelery worker -Q QUEUES`, as the README does.

        Args:
            queues: with commas between them.
            pool: prefork or threads.
            concurrency: processes or threads.

        Yields:
            Its process id, once it takes messages.
        """
        name = queues.replace(",", "-")
        log, ready = self.folder / f"{name}.log", self.folder / f"{name}.ready"
        command = [
            *(sys.executable, "-m", "celery", "-A", "zocelery", "worker"),
            *("-Q", queues, "-P", pool, "-c", str(concurrency), "-n", f"{name}@bench"),
        ]
        environment = {**os.environ, READY_VARIABLE: str(ready)}
        with servers.running(command, log, environment) as process:
            servers.wait_for_file(ready, log, READY_SECONDS)
            yield process.pid

    @contextmanager
    def watchers(self) -> Iterator[int]:
        """Run the worker that everything but the analysis needs; yield its id."""
        with self.worker("control,watch", "threads", 8) as pid:
            yield pid


@contextmanager
def deployment() -> Iterator[Deployment]:
    """Start the servers and point this process and its children at them.

    The tasks of `benchmarks.timed_task` are installed as a facility would do it: by an
    entry point of a package of their own.

    Raises:
        ServerUnreachableError: if RabbitMQ or Redis is not installed.
    """
    for name in [name for name in os.environ if name.startswith("ZOCELERY_")]:
        del os.environ[name]
    with (
        servers.scratch_folder("zocelery-benchmark-") as folder,
        servers.private_redis(folder) as redis,
        servers.private_rabbitmq(folder) as rabbitmq,
    ):
        os.environ["ZOCELERY_REDIS_URL"] = redis
        os.environ["ZOCELERY_BROKER_URL"] = rabbitmq
        os.environ["ZOCELERY_HISTORY_URL"] = f"sqlite:///{folder / 'history.sqlite'}"
        site = _install_tasks(folder / "site")
        sys.path.append(str(site))
        os.environ["PYTHONPATH"] = os.pathsep.join([str(site), str(REPOSITORY)])
        yield Deployment(folder)


def _install_tasks(site: Path) -> Path:
    """Write what an installed package leaves behind; return the folder."""
    package = site / "zocelery_benchmarks-1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: zocelery-benchmarks\nVersion: 1\n"
    )
    (package / "entry_points.txt").write_text(
        "[zocelery.tasks]\nbenchmarks = benchmarks.timed_task\n"
    )
    return site


def finished_run(recipe: Mapping[str, Any] | str, **parameters: Any) -> "Run":
    """Run a recipe to its end.

    Raises:
        RunFailedError: if it does not finish.
    """
    # Here, because Celery's app reads the settings when it is imported.
    from zocelery.submission import submit

    run = submit(recipe, parameters)
    run.result(RUN_SECONDS)
    return run


def watch_and_analyse(task: str, **parameters: Any) -> dict[str, Any]:
    """Return a recipe that has every image of `images` analysed, and gathers."""
    return {
        "parameters": {"images": {}},
        "start": "watch",
        "nodes": {
            "watch": {
                "task": "file_watcher",
                "parameters": {"images": "{images}"},
                "output": {"every": "analyse"},
            },
            "analyse": {"task": task, "parameters": parameters, "output": "all"},
            "all": {"task": "collect", "gather": True},
        },
    }
