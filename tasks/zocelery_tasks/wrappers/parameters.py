"""Parameters that every wrapper has."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zocelery.errors import ParameterError
from zocelery.messages import Step
from zocelery_tasks.lenient_values import first_error, without_empty
from zocelery_tasks.slurm.parameters import ClusterParameters

Parameters = TypeVar("Parameters", bound="WrapperParameters")


class WrapperParameters(BaseModel):
    """Parameters that every wrapper has; Zocalo's may stand in `job_parameters`."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        allow_inf_nan=False,
        use_attribute_docstrings=True,  # `zocelery recipe tasks NAME` shows them
    )

    working_directory: str | None = None
    """Where the program works, in a folder of its own for each try."""
    results_directory: str | None = None
    """Where a copy of the results goes, in a folder of the program's name."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds that one try may take; on a cluster without the time in its queue."""
    environment: Mapping[str, str] = Field(default_factory=dict)
    """Variables that the program gets beside the worker's own."""
    runs_on: str | None = None
    """`worker`, or the name of a Slurm cluster; else as the configuration says."""
    cluster: ClusterParameters = ClusterParameters()
    """What jobs ask a cluster for, where they run on one."""

    @model_validator(mode="before")
    @classmethod
    def _take_null_as_absent(cls, value: Any) -> Any:
        return without_empty(value)


def parse_parameters(model: type[Parameters], step: Step, name: str) -> Parameters:
    """Return a wrapper's parameters: `parameters`, overlaid with `job_parameters`.

    Raises:
        ParameterError: one cannot be used; the message names key and value.
    """
    given = {**step.parameters, **step.job_parameters}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise ParameterError(f"{name}: {first_error(error)}") from error
