"""Messages to beamline software: what X-ray centring has found, and plain answers."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zocelery.allowed_hosts import allowed_name
from zocelery.deployment import current_deployment
from zocelery.egress import RECIPE_HEADER, Letter, send_once, wrap_step
from zocelery.errors import ParameterError, PermanentError
from zocelery.messages import Step
from zocelery.queues import RESULTS_EXCHANGE, results_key
from zocelery.settings import ClientSettings, current_settings

if TYPE_CHECKING:
    from zocelery_tasks.announcements import FeedbackParameters, ResultsParameters

logger = logging.getLogger(__name__)
_KEYS = ("centre_of_mass", "max_voxel", "max_count", "n_voxels", "total_count")
_ALL_KEYS = (*_KEYS, "bounding_box", "sample_id")


def publish_centring(step: Step, given: "ResultsParameters") -> dict[str, Any]:
    """Publish what 3-D centring has found in the form that dodal's client reads.

    An empty list, when nothing diffracts, is sent as well: the client waits for it.

    Returns:
        `key`, the routing key, and `taken`: whether anybody listens.

    Raises:
        PermanentError: the payload is no answer of 3-D centring.
        TemporaryError: another try is sending it at this moment.
    """
    clients = current_settings().clients
    key = results_key(clients, given.beamline)
    body = wrap_step(step.run_id, results_step(given, clients), results_of(step))
    letter = Letter(body, key, RESULTS_EXCHANGE, headers={RECIPE_HEADER: True})
    taken = _send(step, letter)
    if not taken:
        logger.warning("Nobody listens to %r: dcid %s", key, given.dcid)
    return {"key": key, "taken": taken}


def publish_to_beamline(
    step: Step, beamline: str, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """Publish a payload as it is, with the routing key of a beamline's hit rates.

    Returns:
        `key`, the routing key, and `taken`: whether anybody listens.

    Raises:
        TemporaryError: another try is sending it at this moment.
    """
    key = current_settings().clients.hits_key.replace("{beamline}", beamline)
    described = {"queue": key, "exchange": RESULTS_EXCHANGE, "parameters": parameters}
    body = wrap_step(step.run_id, described, step.payload)
    letter = Letter(body, key, RESULTS_EXCHANGE, headers={RECIPE_HEADER: True})
    return {"key": key, "taken": _send(step, letter)}


def results_step(given: "ResultsParameters", clients: ClientSettings) -> dict[str, Any]:
    """Return the recipe step that the client reads dcid, dcgid and gpu from."""
    marked = given.gpu
    if marked is None:
        marked = given.beamline in clients.gpu_beamlines
    parameters = {**given.model_dump(exclude={"beamline"}), "gpu": marked}
    return {
        "queue": results_key(clients, given.beamline),
        "exchange": RESULTS_EXCHANGE,
        "parameters": parameters,
    }


def results_of(step: Step) -> dict[str, Any]:
    """Return the payload of the message from what `xray_centering` has answered.

    Raises:
        PermanentError: it is no answer of it, or one in two dimensions, at which the
            client fails.
    """
    told = step.payload
    if not isinstance(told, Mapping) or not isinstance(told.get("results"), list):
        raise PermanentError("publish_results: the payload has no list `results`")
    if told.get("type") != "3d":
        raise PermanentError(
            f"publish_results: type is {told.get('type')!r}, 3d is expected"
        )
    results = [{key: one.get(key) for key in _ALL_KEYS} for one in told["results"]]
    return {"status": "success", "type": "3d", "results": results}


def send_feedback(step: Step, given: "FeedbackParameters") -> dict[str, Any]:
    """Send the payload as a plain message to a queue of the configuration.

    Raises:
        PermanentError: the queue is none of the configuration, or not there.
        TemporaryError: another try is sending it at this moment.
    """
    known = current_settings().clients.feedback_queues
    try:
        allowed_name(given.queue, known, "queue", "clients.feedback_queues")
    except ParameterError as error:
        raise PermanentError(f"feedback: {error}") from error
    _send(step, Letter(laid_over(given.message, step.payload), given.queue))
    return {"queue": given.queue}


def laid_over(message: Mapping[str, Any], payload: Any) -> dict[str, Any]:
    """Return a message with the payload's keys, or with the payload as one of them."""
    if isinstance(payload, Mapping):
        return {**message, **payload}
    return dict(message) if payload in (None, []) else {**message, "payload": payload}


def _send(step: Step, letter: Letter) -> bool:
    from zocelery.celery import app

    letter = Letter(
        letter.body,
        letter.routing_key,
        letter.exchange,
        "topic",
        letter.headers,
        step.unit,
    )
    return send_once(app, current_deployment().store, step.run_id, letter)
