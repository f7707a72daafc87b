"""Settings: one TOML file with named environments, overridden by `ZOCELERY_*`."""

import json
import os
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from zocelery.cluster_settings import SLURM, WORKER, SlurmSettings
from zocelery.errors import ConfigurationError
from zocelery.resources import resource_dir


class _Section(BaseModel):
    """A table of the configuration file: frozen, and refuses misspelt options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _require_url(value: str) -> str:
    """Refuse what clients would stumble over, showing the password as they do."""
    if all(map(_is_url, value.split(";"))):
        return value
    raise ValueError(
        "is no URL; the characters / # ? @ of a password are written %2F %23 %3F %40"
    )


def _is_url(text: str) -> bool:
    try:
        _ = urlsplit(text).port
    except ValueError:
        return False
    return "://" in text


Url = Annotated[str, AfterValidator(_require_url)]
"""The URL of a server, or several with semicolons between them."""


class BrokerSettings(_Section):
    """Where messages go."""

    url: Url
    queue_type: Literal["classic", "quorum"]
    declare: bool
    connect_timeout: float = Field(gt=0)
    timeout: float = Field(ge=2)

    @property
    def is_redis(self) -> bool:
        """Whether the broker is a Redis server, as in some embedded runs."""
        return self.url.startswith(("redis", "unix"))


class RedisSettings(_Section):
    """Where results, gathers and the live state of runs are kept."""

    url: Url
    timeout: float = Field(ge=2)
    expires: int = Field(gt=0)
    gather_expires: int = Field(gt=0)


class HistorySettings(_Section):
    """Where the history of runs is kept."""

    url: str


class LimsSettings(_Section):
    """The LIMS, and where on the facility's disks things are."""

    url: str
    layout: Literal["diamond", "generic"]
    ready_timeout: float = Field(ge=0)


class RecipeSettings(_Section):
    """Where recipes are found."""

    folders: tuple[Path, ...]
    aliases: Mapping[str, str]


class FileSettings(_Section):
    """Where tasks may read and write what recipes, parameters and payloads name."""

    roots: tuple[Path, ...]


class QueueSettings(_Section):
    """Zocalo's queues: which task does the work, and which others serve."""

    tasks: Mapping[str, str]
    foreign: tuple[str, ...]


class BridgeSettings(_Section):
    """What is taken from Zocalo's clients and services, and how."""

    queue: str = Field(min_length=1)
    services: Mapping[str, str]
    threads: int = Field(ge=1, le=64)
    ready_interval: float = Field(gt=0)
    same_message: float = Field(ge=0)


class RuleSettings(_Section):
    """Which rules say what a data collection asks for."""

    names: tuple[str, ...]
    bundled: bool
    disabled: tuple[str, ...]
    pipelines: tuple[str, ...]


class ClientSettings(_Section):
    """What beamline software and other programs are told, and where they are."""

    results_key: str = Field(min_length=1)
    hits_key: str = Field(min_length=1)
    results_beamlines: tuple[str, ...]
    gpu_beamlines: tuple[str, ...]
    feedback_queues: tuple[str, ...]
    hosts: tuple[str, ...]
    timeout: float = Field(gt=0, le=300)


class MailSettings(_Section):
    """Who sends mail, by which server and to whom."""

    url: str
    sender: str
    recipients: tuple[str, ...]
    timeout: float = Field(gt=0, le=300)


class PrioritySettings(_Section):
    """Priorities in the queue `images`; 9 overtakes everything."""

    live: int = Field(ge=0, le=9)
    reprocessing: int = Field(ge=0, le=9)


class WorkerSettings(_Section):
    """How workers behave."""

    events: bool
    janitor_interval: float = Field(gt=0)
    watch_lease: float = Field(gt=0)
    task_lease: float = Field(ge=1)
    gather_lease: float = Field(ge=1)
    delivery_limit: int = Field(ge=1)
    image_limit: float = Field(ge=0)
    largest_message: int = Field(gt=0)
    beamline: str


class WrapperSettings(_Section):
    """Where and how external programs run."""

    working_directory: Path
    roots: tuple[Path, ...]
    programs: tuple[str, ...]
    variables: tuple[str, ...] = ()
    processes: int = Field(ge=0)
    grace: float = Field(ge=0, le=60)
    nice: int = Field(default=19, ge=0, le=19)
    stop_wait: float = Field(ge=0)
    runs_on: str = WORKER
    runs_on_for: Mapping[str, str] = Field(default_factory=dict)

    def place_of(self, wrapper: str) -> str:
        """Return where the configuration lets a wrapper's programs run."""
        for pattern, place in self.runs_on_for.items():
            if fnmatchcase(wrapper, pattern):
                return place
        return self.runs_on


class RunSettings(_Section):
    """What is asked of a machine before a run starts on it, and of the run."""

    free_space: int = Field(ge=0)
    deadline: float = Field(ge=0)
    drop_folder: str
    retention: float = Field(ge=0)
    most_queued: int = Field(ge=0)
    most_members: int = Field(ge=1)


class Settings(_Section):
    """All settings of one environment."""

    environment: str
    broker: BrokerSettings
    redis: RedisSettings
    history: HistorySettings
    lims: LimsSettings
    recipes: RecipeSettings
    files: FileSettings
    queues: QueueSettings
    bridge: BridgeSettings
    rules: RuleSettings
    clients: ClientSettings
    mail: MailSettings
    priority: PrioritySettings
    workers: WorkerSettings
    wrappers: WrapperSettings
    slurm: SlurmSettings
    run: RunSettings

    @model_validator(mode="after")
    def _check_places(self) -> Self:
        for place in (self.wrappers.runs_on, *self.wrappers.runs_on_for.values()):
            if place != WORKER and self.slurm.cluster(place) is None:
                known = ", ".join((WORKER, SLURM, *self.slurm.clusters))
                raise ValueError(f"wrappers run on {place!r}, known are: {known}")
        return self


def load_settings(
    file: Path | None = None,
    environment: str | None = None,
    variables: Mapping[str, str] = os.environ,
) -> Settings:
    """Read the bundled defaults, the user's file and the `ZOCELERY_*` variables.

    Args:
        file: the user's file; by default the one that `ZOCELERY_CONFIG` names, if any.
        environment: by default `ZOCELERY_ENVIRONMENT`, then what the file says.
        variables: the process's environment variables.

    Raises:
        ConfigurationError: names the file or variable, the option and its value.
    """
    merged = _read(resource_dir("config") / "zocelery.toml")
    named = variables.get("ZOCELERY_CONFIG")
    path = file or (Path(named) if named else None)
    own = _read(path) if path else {}
    environments = own.pop("environments", {})
    merged = _overlay(merged, own)
    chosen = environment or variables.get("ZOCELERY_ENVIRONMENT")
    chosen = chosen or str(merged["environment"])
    if chosen in environments:
        merged = _overlay(merged, environments[chosen])
    elif environments or chosen != "default":
        known = ", ".join(sorted(environments)) or "none"
        raise ConfigurationError(
            f"{path or 'no configuration file'}: environment {chosen!r} is not there "
            f"(known: {known})"
        )
    merged["environment"] = chosen
    merged = _overlay(merged, _from_variables(merged, variables))
    return _validate(_read_secrets(merged), path)


@cache
def current_settings() -> Settings:
    """Return the settings of this process, read once."""
    return load_settings()


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: is not TOML: {error}") from error


def _overlay(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `top` laid over it, table by table."""
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _overlay(old, value)
        else:
            merged[key] = value
        if key.endswith("_file"):
            merged.pop(key.removesuffix("_file"), None)
        else:
            merged.pop(f"{key}_file", None)
    return merged


def _from_variables(
    known: Mapping[str, Any], variables: Mapping[str, str]
) -> dict[str, Any]:
    """Return the options that `ZOCELERY_SECTION_OPTION` variables set."""
    found: dict[str, Any] = {}
    for section, options in known.items():
        if not isinstance(options, dict):
            continue
        prefix = f"ZOCELERY_{section.upper()}_"
        for name, text in variables.items():
            if name.startswith(prefix):
                option = name.removeprefix(prefix).lower()
                found.setdefault(section, {})[option] = _value(text)
    return found


def _value(text: str) -> Any:
    """Return the JSON value of a list, table or number, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read_secrets(table: Mapping[str, Any]) -> dict[str, Any]:
    """Replace each `option_file` by `option`, read from the file that it names."""
    result: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            result[key] = _read_secrets(value)
        elif key.endswith("_file"):
            try:
                text = Path(value).read_text()
            except OSError as error:
                raise ConfigurationError(
                    f"{key} = {value!r}: cannot be read: {error.strerror}"
                ) from error
            result[key.removesuffix("_file")] = text.strip()
        else:
            result[key] = value
    return result


def _validate(table: Mapping[str, Any], path: Path | None) -> Settings:
    try:
        return Settings.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(str(part) for part in first["loc"])
        value = repr(first["input"])
        # what is misspelt may be a password, what stands in the wrong place a URL
        unknown = first["type"] == "extra_forbidden"
        secret = "url" in option or "://" in value or unknown
        shown = "" if secret else f" (value: {value})"
        where = path or "configuration"
        raise ConfigurationError(f"{where}: {option}: {first['msg']}{shown}") from None
