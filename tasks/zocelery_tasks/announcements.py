"""The tasks that tell others: beamlines, GDA, web servers, people, files.

Doorways: what they need is imported when the first of them is called. Where a message
may go stands in the configuration (`[clients]`, `[mail]`), never in the message alone.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from zocelery.messages import Step
from zocelery.task import recipe_task


class _Parameters(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ResultsParameters(BaseModel):
    """Parameters of `publish_results`; further ones go with the message."""

    model_config = ConfigDict(frozen=True, extra="allow")

    beamline: str
    """Whose software is told, such as "i03"."""
    dcid: int
    """The data collection; of a pair, the second."""
    dcgid: int
    """Its group."""
    gpu: bool | None = None
    """What the message says of who has counted; None: as the configuration has it."""


class FeedbackParameters(_Parameters):
    """Parameters of `feedback`."""

    queue: str
    """One of `clients.feedback_queues`."""
    message: dict[str, Any] = Field(default_factory=dict)
    """What is sent; the payload's keys are laid over it."""


class GdaParameters(_Parameters):
    """Parameters of `notify_gda`."""

    dcid: int
    host: str
    port: int = Field(ge=1, le=65535)


class CentreFileParameters(_Parameters):
    """Parameters of `write_centre`."""

    output: str
    """The JSON file."""
    results_symlink: str | None = None
    """Name of a link to its folder, made beside that folder's parent."""


class HttpParameters(_Parameters):
    """Parameters of `notify_http`."""

    url: str
    method: str = Field(default="POST", pattern="^(POST|PUT|PATCH)$")
    message: dict[str, Any] = Field(default_factory=dict)
    """What is sent as JSON; the payload's keys are laid over it."""


class MailParameters(_Parameters):
    """Parameters of `mail`, as Zocalo's mailer has them."""

    recipients: str | list[str] | dict[str, Any] | None = None
    """One, several, or {"select": KEY, "all": [...], KEY: [...]}."""
    recipient: str | list[str] | dict[str, Any] | None = None
    subject: str = "mail notification via zocelery"
    content: str | list[str] = ""
    """Text or its lines. `{payload}`, `{payload[key]}` and `{pprint_payload}` in it are
    filled in; in a recipe they are written with two braces, `{{payload}}`."""


class JsonLinesParameters(_Parameters):
    """Parameters of `json_lines`."""

    output_filename: str
    include: list[str] | None = None
    """The keys of the payload that are written; all, if there are none."""
    exclude: list[str] = Field(default_factory=list)
    """Keys that are left out."""


@recipe_task("publish_results", parameters=ResultsParameters)
def publish_results(step: Step) -> dict[str, Any]:
    """Tell a beamline's software what 3-D X-ray centring has found, once."""
    from zocelery_tasks.beamline_messages import publish_centring

    return publish_centring(step, ResultsParameters.model_validate(step.parameters))


@recipe_task("feedback", parameters=FeedbackParameters)
def feedback(step: Step) -> dict[str, Any]:
    """Answer a program that waits on a queue of its own, such as Murfey, once."""
    from zocelery_tasks.beamline_messages import send_feedback

    return send_feedback(step, FeedbackParameters.model_validate(step.parameters))


@recipe_task("notify_gda", parameters=GdaParameters, aliases=("DLS GDA Bridge",))
def notify_gda(step: Step) -> dict[str, Any]:
    """Tell GDA of one image by a datagram."""
    from zocelery_tasks.notices import send_datagram

    given = GdaParameters.model_validate(step.parameters)
    return send_datagram(step, given.dcid, given.host, given.port)


@recipe_task("write_centre", parameters=CentreFileParameters)
def write_centre(step: Step) -> dict[str, Any]:
    """Write a 2-D centre into the file that GDA reads, `Dials5AResults.json`."""
    from zocelery_tasks.centring_files import write_message

    given = CentreFileParameters.model_validate(step.parameters)
    written = write_message(step.payload, given.output, given.results_symlink)
    return {"files": [str(path) for path in written]}


@recipe_task("notify_http", parameters=HttpParameters)
def notify_http(step: Step) -> dict[str, Any]:
    """Send the payload as JSON to a web server."""
    from zocelery_tasks.notices import send_request

    given = HttpParameters.model_validate(step.parameters)
    return send_request(step, given.url, given.method, given.message)


@recipe_task(
    "mail",
    parameters=MailParameters,
    aliases=("mailnotification", "Mail Notifications"),
)
def mail(step: Step) -> dict[str, Any]:
    """Send a mail; answer when the mail server has taken it."""
    from zocelery_tasks.mailing import send_mail

    given = MailParameters.model_validate(step.parameters)
    recipients = given.recipients or given.recipient
    return send_mail(step, recipients, given.subject, given.content)


@recipe_task("json_lines", parameters=JsonLinesParameters, aliases=("jsonlines",))
def json_lines(step: Step) -> dict[str, Any]:
    """Add the payload to a file, as one line of JSON, once."""
    from zocelery_tasks.line_files import append_line

    given = JsonLinesParameters.model_validate(step.parameters)
    return append_line(step, given.output_filename, given.include, given.exclude)
