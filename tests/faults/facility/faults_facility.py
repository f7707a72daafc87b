"""Tasks of a facility that tries to break zocelery; each keeps a journal in a file."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from zocelery.catalogue import TaskKind
from zocelery.errors import ImageError, TemporaryError
from zocelery.messages import Step
from zocelery.task import recipe_task


def write_journal(step: Step, word: str) -> None:
    """Append one line, whole or not at all, to the journal that the node names."""
    line = f"{word} {step.node} {step.item or '-'} {os.getpid()} {time.monotonic()}\n"
    name = step.parameters.get("journal")
    if name:
        with Path(str(name)).open("a", buffering=1) as journal:
            journal.write(line)


def wait_for_gate(step: Step) -> None:
    """Wait until the file that the node names as its gate is there."""
    gate = step.parameters.get("gate")
    while gate and not Path(str(gate)).exists():
        time.sleep(0.02)


@recipe_task("faults.long", queue="wrappers", kind=TaskKind.WRAPPER)
def long(step: Step, desk: Any) -> Any:
    """Take as long as a program would, then answer the payload."""
    del desk
    write_journal(step, "start")
    wait_for_gate(step)
    time.sleep(float(step.parameters.get("seconds", 0)))
    write_journal(step, "end")
    return {"done": True, **dict(step.payload or {})}


@recipe_task("faults.gather", kind=TaskKind.GATHER)
def gather(step: Step) -> dict[str, Any]:
    """Answer the sum of all members once the gate is open."""
    write_journal(step, "start")
    wait_for_gate(step)
    write_journal(step, "end")
    values = [member.value for member in step.members if member.ok]
    total = sum(value for value in values if isinstance(value, int))
    return {"sum": total, "count": len(values), "missing": len(step.missing)}


@recipe_task("faults.member", queue="images")
def member(step: Step) -> Any:
    """Answer the payload, a number, after a short time."""
    write_journal(step, "start")
    wait_for_gate(step)
    time.sleep(float(step.parameters.get("seconds", 0)))
    write_journal(step, "end")
    return step.payload


@recipe_task("faults.bundled", queue="images", bundle=8)
def bundled(step: Step) -> Any:
    """Answer the payload, a number; one of them kills, one fails, one has to wait."""
    write_journal(step, "start")
    wait_for_gate(step)
    time.sleep(float(step.parameters.get("seconds", 0)))
    if step.payload == step.parameters.get("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    if step.payload == step.parameters.get("bad"):
        raise ImageError("a bad one")
    later = Path(str(step.parameters.get("later")))
    if step.payload == step.parameters.get("early") and not later.exists():
        later.touch()
        raise TemporaryError("too early")
    write_journal(step, "end")
    return step.payload


@recipe_task("faults.poison", queue="lims")
def poison(step: Step) -> None:
    """Kill the process that works on it, as a fault in a library would."""
    write_journal(step, "start")
    os.kill(os.getpid(), signal.SIGKILL)


@recipe_task("faults.step", queue="lims")
def step(step: Step) -> Any:
    """Answer the payload when the gate is open and some time has passed."""
    write_journal(step, "start")
    wait_for_gate(step)
    time.sleep(float(step.parameters.get("seconds", 0)))
    write_journal(step, "end")
    return step.payload
