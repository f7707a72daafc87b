"""Settings of Slurm clusters: one that is called `slurm`, and more if need be."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

WORKER = "worker"
"""Where programs run: in the process tree of the worker that has taken them."""
SLURM = "slurm"
"""Where programs run: as jobs of the cluster of this name."""


class ClusterSettings(BaseModel):
    """How jobs are given to one Slurm cluster."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    api_version: str = Field(pattern=r"^v?\d+\.\d+\.\d+$")
    user: str
    token_path: str
    poll: float = Field(gt=0)
    python: str
    partition: str
    account: str
    qos: str
    constraints: str
    time_limit: float = Field(ge=0)
    cpus: int = Field(ge=0)
    memory: int = Field(ge=0)


class SlurmSettings(ClusterSettings):
    """The cluster called `slurm`, and in what others differ from it."""

    clusters: Mapping[str, Mapping[str, Any]]

    @model_validator(mode="after")
    def _check_clusters(self) -> Self:
        for name in self.clusters:
            self._read(name)
        return self

    def cluster(self, name: str) -> ClusterSettings | None:
        """Return the settings of the cluster `name`, or None if there is none."""
        known = name == SLURM or name in self.clusters
        return self._read(name) if known else None

    def _read(self, name: str) -> ClusterSettings:
        own = self.model_dump(exclude={"clusters"})
        return ClusterSettings.model_validate({**own, **self.clusters.get(name, {})})
