"""Benches for tests of wrappers: run as by a worker, without servers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zocelery.desk import NoDesk
from zocelery.messages import Emission, Member, Step
from zocelery.registry import load_tasks, task_function
from zocelery.settings import WrapperSettings


@dataclass
class Heard:
    """An outlet that remembers what was sent."""

    told: list[tuple[str, Any, str | None]] = field(default_factory=list)

    def send(self, channel: str, payload: Any, item: str | None = None) -> None:
        self.told.append((channel, payload, item))

    def send_members(self, channel: str, emissions: list[Emission]) -> None:
        raise NotImplementedError

    def on(self, channel: str) -> list[Any]:
        return [payload for name, payload, _ in self.told if name == channel]


def settings(folder: Path, **changed: Any) -> WrapperSettings:
    given = {
        "working_directory": folder,
        "roots": (),
        "programs": (),
        "variables": ("PATH",),
        "processes": 1,
        "grace": 0.2,
        "stop_wait": 0.0,
    }
    return WrapperSettings.model_validate({**given, **changed})


def run_wrapper(
    name: str,
    folder: Path,
    parameters: Mapping[str, Any],
    *,
    payload: Any = None,
    job_parameters: Mapping[str, Any] | None = None,
    heard: Heard | None = None,
    members: Sequence[Member] = (),
    **changed: Any,
) -> Any:
    """Run the wrapper `name` as a node of the same name; return what it answers."""
    step = Step(
        parameters=parameters,
        job_parameters=job_parameters or {},
        payload=payload,
        members=members,
        run_id="run",
        node=name,
        outlet=heard or Heard(),  # type: ignore[arg-type]  # keeps lists
    )
    function = task_function(load_tasks()[name])
    return function(step, NoDesk(settings(folder, **changed)))
