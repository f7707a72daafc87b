"""Chaos: workers, their children and servers are killed while runs are under way."""

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from redis.exceptions import RedisError

from benchmarks.report import Report, progress
from tests.faults.site import Site, running_site
from zocelery.errors import ZoceleryError
from zocelery.run import ENDED, Run, as_result, is_result

MEMBERS = 40
AT_ONCE = 4
"""Runs that are under way at the same time."""
PATIENCE_SECONDS = 300.0
"""After the last kill; what has not ended then hangs."""
TARGETS = {"child": 10, "worker": 8, "redis": 1, "rabbitmq": 1}
"""What may be killed, and how often in comparison."""


@dataclass
class Tally:
    """What was done and what came of it."""

    kills: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    """Members that a gather did not get."""
    doubled: int = 0
    """Members of which listeners were told more than once."""
    fired: Counter[int] = field(default_factory=Counter)
    """How often the gathers of how many runs answered."""
    begun: int = 0
    """How often the functions of gathers were begun."""
    wrong: list[str] = field(default_factory=list)
    """Runs that did not end with the answer that they should have, and how they did."""

    @property
    def is_clean(self) -> bool:
        """Whether all that was promised has been kept."""
        return not (self.lost or self.doubled or self.wrong or set(self.fired) - {1})


class Chaos:
    """Keeps runs going and kills what they need."""

    def __init__(self, site: Site, seed: int, runs: int, kills: int) -> None:
        self._site = site
        self._chance = random.Random(seed)
        self._wanted_runs, self._wanted_kills = runs, kills
        self._open: dict[str, Run] = {}
        self._ended: list[Run] = []
        self.tally = Tally()

    def go(self) -> None:
        """Kill until there were enough kills and runs, then let everything end."""
        next_kill = time.monotonic()
        while self._needs_more():
            self._refill()
            if time.monotonic() >= next_kill:
                self._kill_something()
                next_kill = time.monotonic() + self._chance.expovariate(1.5)
            self._collect()
            time.sleep(0.02)
        give_up = time.monotonic() + PATIENCE_SECONDS
        while self._open and time.monotonic() < give_up:
            self._collect()
            time.sleep(0.1)
        self._ended += self._open.values()
        for run in self._ended:
            self._judge(run)

    @property
    def run_count(self) -> int:
        """How many runs there were."""
        return len(self._ended)

    def _needs_more(self) -> bool:
        begun = len(self._ended) + len(self._open)
        return begun < self._wanted_runs or self._count() < self._wanted_kills

    def _count(self) -> int:
        return sum(self.tally.kills.values())

    def _refill(self) -> None:
        while len(self._open) < AT_ONCE:
            number = len(self._open) + len(self._ended)
            run = f"chaos-{number}"
            request = {"recipe": self._recipe(run), "run_id": run}
            if "run" not in self._site.request(request):
                return  # a server is away: next time, under the same id
            self._open[run] = Run(run, self._site.deployment)

    def _recipe(self, run: str) -> dict[str, Any]:
        log = str(self._site.folder / f"{run}.journal")
        numbers = list(range(MEMBERS))
        return {
            "nodes": {
                "list": {
                    "task": "echo",
                    "parameters": {"numbers": numbers},
                    "output": "member",
                },
                "member": {
                    "task": "faults.member",
                    "foreach": "numbers",
                    "parameters": {"seconds": 0.02},
                    "output": "sum",
                },
                "sum": {
                    "task": "faults.gather",
                    "gather": True,
                    "parameters": {"journal": log},
                    "output": "after",
                },
                "after": {"task": "echo"},
            },
            "start": "list",
        }

    def _kill_something(self) -> None:
        (what,) = self._chance.choices(list(TARGETS), list(TARGETS.values()))
        kill: Callable[[], str | None] = getattr(self, f"_kill_{what}")
        name = kill()
        if name is not None:
            self.tally.kills[name] += 1
            progress(
                f"kill {self._count()}: {name}; {len(self._ended)} runs have ended"
            )

    def _kill_child(self) -> str | None:
        worker = self._chance.choice(
            [w for w in self._site.workers.values() if w.pool == "prefork"]
        )
        children = worker.children()
        if not (worker.ready.exists() and children):
            return None
        with suppress(ProcessLookupError):
            os.kill(self._chance.choice(children), signal.SIGKILL)
        return f"a child of {worker.queues}"

    def _kill_worker(self) -> str | None:
        worker = self._chance.choice(list(self._site.workers.values()))
        if not (worker.is_alive() and worker.ready.exists()):
            return None
        worker.ready.unlink(missing_ok=True)
        worker.kill()
        return f"a worker of {worker.queues}"

    def _kill_redis(self) -> str:
        self._site.redis.kill()
        self._site.redis.start()
        return "Redis"

    def _kill_rabbitmq(self) -> str:
        self._site.rabbitmq.kill()
        self._site.rabbitmq.start()
        return "RabbitMQ"

    def _collect(self) -> None:
        for name, run in list(self._open.items()):
            with suppress(RedisError, ZoceleryError):
                if run.state in ENDED:
                    self._ended.append(self._open.pop(name))

    def _judge(self, run: Run) -> None:
        tally, status = self.tally, run.status()
        tally.states[status.state] += 1
        told = Counter(
            (result["node"], result["item"])
            for result in map(as_result, filter(is_result, run.events(wait=False)))
        )
        tally.fired[told[("sum", "")]] += 1
        members = {key: n for key, n in told.items() if key[0] == "member"}
        tally.doubled += sum(n - 1 for n in members.values())
        tally.lost += MEMBERS - len(members)
        file = self._site.folder / f"{run.id}.journal"
        tally.begun += file.read_text().count("start") if file.exists() else 0
        answer = run.results().get("sum")
        right = {"sum": sum(range(MEMBERS)), "count": MEMBERS, "missing": 0}
        if answer != right or status.state != "finished":
            tally.wrong.append(f"{run.id}: {status.state}, {status.error}, {answer}")
            self._keep_keys(run.id)

    def _keep_keys(self, run: str) -> None:
        """Write beside the logs what Redis knows of a run that went wrong."""
        client = self._site.deployment.store.client
        read: dict[str, Callable[[str], Any]] = {
            "hash": client.hgetall,
            "list": lambda key: client.lrange(key, 0, -1),
            "set": client.smembers,
            "stream": client.xrange,
            "string": client.get,
            "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        }
        keys = sorted(client.scan_iter(f"*{run}*"))
        lines = [f"{key}: {read[client.type(key)](key)}\n" for key in keys]
        (self._site.folder / f"{run}.redis").write_text("".join(lines))


def start_workers(site: Site) -> None:
    """Start two workers of each kind that a run of this benchmark needs."""
    for number in (1, 2):
        site.add_worker(f"control-{number}", "control", "threads", 4)
        site.add_worker(f"images-{number}", "images", "prefork", 2)
    site.start_workers()


@click.command("chaos")
@click.option("--runs", default=60, show_default=True, help="At least so many.")
@click.option("--kills", default=200, show_default=True, help="At least so many.")
@click.option("--seed", default=1, show_default=True, help="Of the order of kills.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def command(runs: int, kills: int, seed: int, as_json: bool) -> None:
    """Kill what is needed at random moments and count what is lost or doubled.

    Exits with 1 if anything was, or if a run has not ended; then the logs are kept.
    """
    report = Report(
        "Chaos",
        "Runs of a fan-out with a gather while children, workers, Redis (with its "
        "data) and RabbitMQ are killed with SIGKILL at random moments.",
        as_json=as_json,
    )
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="zocelery-chaos-"))
    with running_site(folder) as site:
        start_workers(site)
        chaos = Chaos(site, seed, runs, kills)
        chaos.go()
    _print(report, chaos, seed, time.monotonic() - began)
    if not chaos.tally.is_clean:
        report.remark(f"The logs are in {folder}.")
        sys.exit(1)
    shutil.rmtree(folder)


def _print(report: Report, chaos: Chaos, seed: int, seconds: float) -> None:
    tally = chaos.tally
    killed = [{"killed": name, "times": n} for name, n in sorted(tally.kills.items())]
    report.table("Kills", killed)
    summary = {
        "seed": seed,
        "kills": sum(tally.kills.values()),
        "runs": chaos.run_count,
        "finished": tally.states["finished"],
        "members": chaos.run_count * MEMBERS,
        "lost": tally.lost,
        "doubled": tally.doubled,
        "gathers that answered once": tally.fired[1],
        "more than once": sum(n for times, n in tally.fired.items() if times > 1),
        "never": tally.fired[0],
        "begun": tally.begun,
        "minutes": round(seconds / 60, 1),
    }
    report.table("Outcome", [{"what": key, "value": n} for key, n in summary.items()])
    for line in tally.wrong:
        report.remark(f"Wrong: {line}")
