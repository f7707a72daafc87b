"""What a node may ask a cluster for: the parameter `cluster`, spelt as in Zocalo."""

import math
import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from zocelery.cluster_settings import ClusterSettings

_ZOCALO_ONLY = (
    "scheduler",
    "job_name",
    "commands",
    "command",
    "environment",
    "queue",
    "project",
    "tasks",
    "nodes",
    "min_memory_per_cpu",
    "exclusive",
    "qsub_submission_parameters",
    "prefer",
    "array",
)
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:&|*()\[\]@+/-]*")
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


def _require_plain(value: str) -> str:
    if value and not _PLAIN.fullmatch(value):
        raise ValueError("is no name that Slurm could know")
    return value


Plain = Annotated[str, AfterValidator(_require_plain)]
"""A name without blanks, quotes or anything that looks like an option."""


class ClusterParameters(BaseModel):
    """A node's wishes; what it does not say is taken from the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partition: Plain = ""
    account: Plain = ""
    qos: Plain = ""
    constraints: Plain = ""
    """Features that nodes must have, as `sbatch --constraint` takes them."""
    gpus_per_node: Plain = ""
    """`2`, `a100:1`; or as `gpus`."""
    cpus_per_task: int = Field(default=0, ge=0)
    memory_per_node: int = Field(default=0, ge=0)
    """Megabytes."""
    time_limit: timedelta = timedelta(0)
    """Seconds, or text as Slurm writes it: `HH:MM:SS`, `DAYS-HH:MM:SS`."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_is_not_for_us(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        kept = {k: v for k, v in value.items() if k not in _ZOCALO_ONLY and v}
        if "gpus" in kept:
            kept.setdefault("gpus_per_node", kept.pop("gpus"))
        return kept

    @field_validator("gpus_per_node", mode="before")
    @classmethod
    def _take_number_for_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @field_validator("time_limit", mode="before")
    @classmethod
    def _read_clock(cls, value: Any) -> Any:
        found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
        if found is None or ":" not in value:
            return value
        days, *numbers = (int(group or 0) for group in found.groups())
        hours, minutes, seconds = numbers
        if value.count(":") == 1 and not found[1]:  # MM:SS
            hours, minutes, seconds = 0, hours, minutes
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)

    def over(self, settings: ClusterSettings) -> dict[str, Any]:
        """Return the limits of a job: these, else what the configuration says."""
        seconds = self.time_limit.total_seconds() or settings.time_limit
        return {
            "partition": self.partition or settings.partition,
            "account": self.account or settings.account,
            "qos": self.qos or settings.qos,
            "constraints": self.constraints or settings.constraints,
            "gpus": self.gpus_per_node,
            "minutes": math.ceil(seconds / 60),
            "cpus": self.cpus_per_task or settings.cpus,
            "memory": self.memory_per_node or settings.memory,
        }
