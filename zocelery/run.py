"""Run: the handle of one submission, in a script, a notebook or the command line."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from zocelery.deployment import Deployment
from zocelery.errors import RunFailedError
from zocelery.recipe import Frozen

ENDED = ("finished", "failed", "cancelled")
"""States in which nothing of a run is under way any more."""
LISTEN_SECONDS = 1.0


class NodeStatus(Frozen):
    """How far one node is."""

    node: str
    task: str | None = None
    state: str
    """"waiting", "running", "done", "failed", "parked", "skipped" or "cancelled";
    "reused" if a re-run has taken over what the run before had done."""
    total: int = 0
    """Units known so far: 1, or the members of a fan-out."""
    done: int = 0
    failed: int = 0
    shed: int = 0
    """Members that were dropped because no worker was idle."""
    started: float | None = None
    """Unix time, s."""
    ended: float | None = None
    error: str | None = None
    progress: str | None = None
    """What its program has last said of its progress, while it runs."""


class RunStatus(Frozen):
    """How far a run is."""

    run: str
    recipe: str
    rerun_of: str | None = None
    """The run of which this one is a re-run."""
    state: str
    """"running", "finished", "failed" or "cancelled"."""
    submitted: float
    """Unix time, s."""
    ended: float | None = None
    error: str | None = None
    nodes: tuple[NodeStatus, ...] = ()


class Run:
    """One submission of a recipe."""

    def __init__(self, run: str, deployment: Deployment) -> None:
        """Use `zocelery.submit()` for a new run, `find_run()` for one that exists."""
        self.id = run
        self._deployment = deployment

    def __repr__(self) -> str:
        return f"<Run {self.id}>"

    @property
    def state(self) -> str:
        """How the run stands, as of now."""
        live = self._deployment.store.state(self.id)
        if live:
            return live
        known = str(self._deployment.history.run(self.id)["state"])
        return known if known in ENDED else "failed"  # its live state is lost

    def status(self) -> RunStatus:
        """Return how far the run and each of its nodes is."""
        history = self._deployment.history
        row = history.run(self.id)
        counts = self._deployment.store.counts(self.id) or row["counts"] or {}
        units = {unit["node"]: unit for unit in history.run_nodes(self.id)}
        names = dict.fromkeys([*row["document"]["nodes"], *counts, *units])
        state = self.state
        untouched = dict.fromkeys(names, "skipped" if state in ENDED else "waiting")
        untouched |= dict.fromkeys(row["reused"] or (), "reused")
        progress = self._deployment.store.progress(self.id)
        return RunStatus(
            run=self.id,
            recipe=row["recipe"],
            rerun_of=row["rerun_of"],
            state=state,
            submitted=row["submitted"],
            ended=row["ended"],
            error=row["error"],
            nodes=tuple(
                _node_status(
                    name,
                    counts.get(name, {}),
                    units.get(name, {}),
                    untouched[name],
                    progress.get(name, {}),
                )
                for name in names
            ),
        )

    def events(self, wait: bool = True) -> Iterator[dict[str, Any]]:
        """Yield what happens in the run, from its beginning.

        Args:
            wait: go on until the run has ended; otherwise stop at what is known.
        """
        since = "0"
        pause = LISTEN_SECONDS if wait else 0.0
        while True:
            found = self._deployment.store.events(self.id, since, pause)
            for _, event in found:
                yield event
                if "run" in event:
                    return
            if found:
                since = found[-1][0]
            elif not wait or self.state in ENDED:
                return

    def stream(self, node: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield each result as it comes: node, item, ok, and value or error.

        Args:
            node: yield only this node's results.
        """
        for event in self.events():
            if is_result(event) and node in (None, event["node"]):
                yield as_result(event)

    def wait(self, timeout: float | None = None) -> RunStatus:
        """Wait until the run has ended and return how.

        Raises:
            TimeoutError: it has not ended within `timeout` seconds.
        """
        give_up = None if timeout is None else time.monotonic() + timeout
        since = "0"
        while self.state not in ENDED:
            if give_up is not None and time.monotonic() > give_up:
                raise TimeoutError(f"run {self.id} has not ended in {timeout} s")
            found = self._deployment.store.events(self.id, since, 0.25)
            since = found[-1][0] if found else since
        return self.status()

    def results(self) -> dict[str, Any]:
        """Return what each node of the run itself has answered, by node."""
        rows = self._deployment.history.run_nodes(self.id)
        return {r["node"]: r["result"] for r in rows if r["result"] is not None}

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end and return the answer of the last node, or of all last ones.

        Raises:
            RunFailedError: the run did not finish.
            TimeoutError: it has not ended within `timeout` seconds.
        """
        status = self.wait(timeout)
        if status.state != "finished":
            raise RunFailedError(f"run {self.id} {status.state}: {status.error}")
        answers = self.final_results()
        return next(iter(answers.values())) if len(answers) == 1 else answers

    def final_results(self) -> dict[str, Any]:
        """Return the answers of the nodes that feed no other node of the run."""
        document = self._deployment.history.run(self.id)["document"]
        return {
            node: value
            for node, value in self.results().items()
            if node in document["nodes"]
            and not any(document["nodes"][node]["outputs"].values())
        }

    def failures(self) -> list[dict[str, Any]]:
        """Return the members of fan-outs that failed: node, item, error."""
        rows = self._deployment.history.run_failures(self.id)
        return [{k: row[k] for k in ("node", "item", "error")} for row in rows]

    def cancel(self) -> None:
        """Let everything of the run that has not begun end without doing its work."""
        if self.state not in ENDED:
            self._deployment.store.cancel(self.id)


def find_run(run: str, deployment: Deployment) -> Run:
    """Return the run whose id is `run` or begins with it.

    Raises:
        ServerUnreachableError: Redis does not answer, or hangs.
        UnknownRunError: there is none, or more than one.
    """
    deployment.check_store()  # its clients are patient: workers need that
    return Run(deployment.history.run(run)["run"], deployment)


def is_result(event: Mapping[str, Any]) -> bool:
    """Whether an event tells how a unit ended and what it answered."""
    told = "value" in event or event.get("state") in ("failed", "parked", "shed")
    return told and "node" in event


def as_result(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event as a result for people and programs."""
    ok = "error" not in event
    answer = {"value": event.get("value")} if ok else {"error": event["error"]}
    return {"node": event["node"], "item": event.get("item", ""), "ok": ok, **answer}


def _node_status(
    name: str,
    counts: Mapping[str, int],
    unit: Mapping[str, Any],
    untouched: str,
    progress: Mapping[str, Any],
) -> NodeStatus:
    total, done = counts.get("total", 0), counts.get("done", 0)
    done += counts.get("reused", 0)
    failed = counts.get("failed", 0) + counts.get("parked", 0)
    ended = done + failed + counts.get("skipped", 0) + counts.get("cancelled", 0)
    if unit.get("state") and total <= 1:
        state = str(unit["state"])
    elif not total:
        state = untouched
    else:
        state = "running" if ended < total else "done" if done else "failed"
    return NodeStatus(
        node=name,
        task=unit.get("task"),
        state=state,
        total=total,
        done=done,
        failed=failed,
        shed=counts.get("shed", 0),
        started=unit.get("started"),
        ended=unit.get("ended"),
        error=unit.get("error"),
        progress=progress.get("message") if state == "running" else None,
    )
