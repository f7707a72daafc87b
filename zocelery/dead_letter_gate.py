"""The gate: what a worker receives is a task that it can run, or becomes a dead letter.

Celery logs and forgets a message that it cannot decode, and some malformed ones end its
main process, and that of every other worker, because the broker delivers them again.
Here each message is looked at before Celery does: what is no task is published to
`dlq.<queue>` with the reason, byte for byte as it came, and then acknowledged.
"""

import inspect
import logging
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from celery.utils.saferepr import saferepr
from celery.worker.consumer import Consumer
from kombu import compression

from zocelery import dead_letter
from zocelery.canvas import Place
from zocelery.dead_letter_format import DeadLetter, from_message
from zocelery.deliveries import forgive_running
from zocelery.deployment import current_deployment
from zocelery.parking import parked
from zocelery.queues import QUEUE_NAMES, queue_of
from zocelery.task import PASSING_ERRORS, RecipeTask
from zocelery.unit import Unit
from zocelery.versions import VERSION_HEADER, newer_problem

logger = logging.getLogger(__name__)
JSON = "application/json"
ZLIB = "application/x-gzip"
"""As kombu calls what zlib has compressed."""
LONGEST_ID = 255
SHOWN = 80
"""Characters of a foreign value that a reason quotes."""
FLOOD_REFUSALS = 200
FLOOD_SECONDS = 60.0
"""More refusals in that time are a flood: the broker moves the rest by itself, which
takes a tenth of the time; what is no task must not hold up what is one."""
PAUSE_SECONDS = 1.0
LOGGED_REFUSALS = 20
"""So many refusals are logged one by one, then each thousandth."""

_TEXT = (str, type(None))
_HEADER_TYPES: Mapping[str, tuple[type, ...]] = {
    "id": (str,),
    "task": (str,),
    "retries": (int,),
    "eta": _TEXT,
    "expires": _TEXT,
    "group": _TEXT,
    "group_index": (int, type(None)),
    "root_id": _TEXT,
    "parent_id": _TEXT,
    "shadow": _TEXT,
    "origin": _TEXT,
    "argsrepr": _TEXT,
    "kwargsrepr": _TEXT,
    "ignore_result": (bool, type(None)),
    "replaced_task_nesting": (int,),
    "stamped_headers": (list, type(None)),
    "stamps": (dict, type(None)),
    "headers": (dict, type(None)),
    "timelimit": (list, tuple, type(None)),
}
_EMBEDDED_TYPES: Mapping[str, tuple[type, ...]] = {
    "callbacks": (list, type(None)),
    "errbacks": (list, type(None)),
    "chain": (list, type(None)),
    "chord": (dict, type(None)),
}


class Gate(Consumer):
    """Celery's consumer of tasks, with a look at each message before it is taken."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Do as Celery's own, but never decompress what somebody sent."""
        refuse_compression()
        self._refused = 0
        self._window = (0.0, 0)
        broker = current_deployment().settings.broker
        # quorum queues dead-letter at most once, Redis not at all
        self._rejects_safely = broker.queue_type == "classic" and not broker.is_redis
        self.connection_errors: tuple[type[Exception], ...] = ()
        self.channel_errors: tuple[type[Exception], ...] = ()
        self._largest = current_deployment().settings.workers.largest_message
        super().__init__(*args, **options)

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        """Return what is called with each message."""
        handle = super().create_task_handler(*args, **options)

        def _receive(message: Any) -> None:
            problem = find_problem(message, self.app.tasks, self._largest)
            if problem is not None:
                self.refuse(message, problem)
                return
            try:
                handle(message)
            except (*self.connection_errors, *self.channel_errors):
                raise
            except Exception as error:  # the next worker would fall over it as well
                logger.exception("Celery could not take a message")
                self.refuse(message, f"Celery cannot take it: {_describe(error)}")

        return _receive

    def connection_for_write(
        self, url: str | None = None, heartbeat: float | None = None
    ) -> Any:
        """Return the connection on which the worker tells of itself.

        Nobody waits for the confirmation of an event: the main loop, which sends it,
        would wait for ever on a connection that has died, and miss that it has.
        """
        connection = self.app.connection_for_write(url=url, heartbeat=heartbeat)
        options = {**(connection.transport_options or {}), "confirm_publish": False}
        connection.transport_options = options
        return self.ensure_connected(connection)

    def cancel_active_requests(self) -> None:
        """Cancel what runs when a cold shutdown comes: it is not to blame for that."""
        forgive_running()
        super().cancel_active_requests()

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Park what kombu could not read; Celery itself would throw it away."""
        self.refuse(message, f"it cannot be decoded: {_describe(exc)}")

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Park what is no task."""
        self.refuse(message, "it is no task")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Park what names a task that this worker does not know."""
        self.refuse(message, f"unknown task {_describe(exc)}")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Park what Celery cannot make a request of."""
        self.refuse(message, f"it is no valid task: {_describe(exc)}")

    def refuse(self, message: Any, problem: str) -> None:
        """Publish `message` as a dead letter, tell its run, then acknowledge it."""
        if message.acknowledged:
            return
        self._refused += 1
        queue = self._queue_of(message)
        if self._refused <= LOGGED_REFUSALS or self._refused % 1000 == 0:
            logger.error("Refused message %d on %s: %s", self._refused, queue, problem)
        is_flood, reason = self._is_flooded(), f"refused: {problem}"
        try:
            with parked_units(message, queue, reason) as is_unit:
                if not is_flood or is_unit or not self._broker_keeps(message):
                    settle = self._publish(message, queue, reason)
                else:
                    settle = message.reject_log_error
        except PASSING_ERRORS as error:
            logger.warning("Its run cannot be told, put back: %s", _describe(error))
            time.sleep(PAUSE_SECONDS)  # it comes back at once
            message.reject_log_error(logger, self.connection_errors, requeue=True)
        else:
            settle(logger, self.connection_errors)

    def _publish(self, message: Any, queue: str, reason: str) -> Callable[..., None]:
        """Publish `message` as a dead letter; return what then settles it."""
        try:
            dead_letter.refuse(self.app, message, queue, reason)
        except Exception as error:
            logger.warning("Left to the broker's dead-lettering: %s", _describe(error))
            keeps = self._broker_keeps(message)
            return message.reject_log_error if keeps else _leave
        acknowledge: Callable[..., None] = message.ack_log_error
        return acknowledge

    def _is_flooded(self) -> bool:
        """Whether so much is refused just now that reasons would hold up the rest."""
        now = time.monotonic()
        if now - self._window[0] > FLOOD_SECONDS:
            self._window = (now, 0)
        begun, count = self._window
        self._window = (begun, count + 1)
        return count >= FLOOD_REFUSALS and self._rejects_safely

    def _broker_keeps(self, message: Any) -> bool:
        """Whether the broker has a place for the message if it is rejected.

        It then moves it as it is, with its own note instead of our reason.
        """
        return queue_of(message.delivery_info) in QUEUE_NAMES

    def _queue_of(self, message: Any) -> str:
        key = queue_of(message.delivery_info)
        known = self.app.amqp.queues
        return str(key if key in known else next(iter(known.consume_from), "control"))


@contextmanager
def parked_units(message: Any, queue: str, reason: str) -> Iterator[bool]:
    """Tell the run of a refused message that it waits as a dead letter.

    A run that a newer zocelery has submitted is left alone: its state may have another
    form. If only the message is newer, and it still says where it belongs, its run is
    told.
    """
    headers = message.headers if isinstance(message.headers, dict) else {}
    # kombu has expanded it, or it cannot be read anyway
    plain = {name: value for name, value in headers.items() if name != "compression"}
    letter = replace(from_message(message, queue), headers=plain)
    told = f"{reason}; it waits as dead letter {letter.id[:8]}"
    with ExitStack() as stack:
        parts = letter.units if _is_understood(letter) else ()
        entered = [stack.enter_context(_parked(part, told)) for part in parts]
        yield any(entered)


def _is_understood(letter: DeadLetter) -> bool:
    """Whether what is known of the run of a letter has a form that is known here."""
    if letter.run is None or not newer_problem(letter.headers.get(VERSION_HEADER)):
        return True
    record = current_deployment().store.recipe_record(letter.run) or {}
    return newer_problem(record.get("version")) is None


def _parked(letter: DeadLetter, told: str) -> AbstractContextManager[bool]:
    address, ident = letter.address, letter.headers.get("id")
    if address is None or not isinstance(ident, str):
        return nullcontext(False)
    place = Place(address.stream, address.item, address.depth)
    unit = Unit(ident, address.node, place)
    return parked(current_deployment(), address.run, unit, told)


def _leave(*_: Any) -> None:
    """Leave a message for the end of the connection: then the broker has it back."""


def refuse_compression() -> None:
    """Let nothing be decompressed but what zocelery compresses: zlib, and not too far.

    Fifty megabytes of compressed zeros are fifty gigabytes, and they are unpacked
    before anybody has looked at them.
    """
    largest = current_deployment().settings.workers.largest_message

    def _expand(body: bytes) -> bytes:
        stream = zlib.decompressobj()
        text = stream.decompress(body, largest)
        if stream.unconsumed_tail:
            raise ValueError(f"expands to more than {largest} bytes")
        return text

    def _refuse(_: bytes) -> bytes:
        raise ValueError("messages compressed other than by zlib are not accepted")

    compression.register(zlib.compress, _expand, ZLIB, aliases=["gzip", "zlib"])
    for name in compression.encoders():
        if name != ZLIB:
            compression.register(_refuse, _refuse, name)


def find_problem(message: Any, tasks: Mapping[str, Any], largest: int) -> str | None:
    """Return why a message cannot be run as a task here, or None if it can.

    Args:
        message: as kombu received it.
        tasks: the tasks that the worker knows, by name.
        largest: the most bytes that a body may have.
    """
    size = len(message.body or b"")
    if size > largest:
        return f"{size} bytes, {largest} are accepted (workers.largest_message)"
    if message.content_type != JSON:
        return f"content type {_quote(message.content_type)}, only JSON is accepted"
    problem = _version_problem(message.headers)
    problem = problem or _header_problem(message.headers, tasks)
    if problem is not None:
        return problem
    try:
        payload = message.payload
    except Exception as error:
        return f"its body is not JSON: {_describe(error)}"
    return _body_problem(payload, tasks[message.headers["task"]])


def _version_problem(headers: Any) -> str | None:
    version = headers.get(VERSION_HEADER) if isinstance(headers, dict) else None
    problem = newer_problem(version)
    if problem is None:
        return None
    told = headers.get("argsrepr")
    what = f"{told[:SHOWN]}: " if isinstance(told, str) and told else ""
    return f"{what}{problem}; re-inject it when newer workers serve the queue"


def _header_problem(headers: Any, tasks: Mapping[str, Any]) -> str | None:
    if not isinstance(headers, dict) or "task" not in headers or "id" not in headers:
        return "it is no task: its headers lack 'task' or 'id'"
    for name, types in _HEADER_TYPES.items():
        if name in headers and not isinstance(headers[name], types):
            return f"header {name!r} is {_quote(headers[name])}"
    if not 0 < len(headers["id"]) <= LONGEST_ID:
        return f"header 'id' has {len(headers['id'])} characters"
    if headers.get("retries", 0) < 0:
        return f"header 'retries' is {headers['retries']}"
    limits = headers.get("timelimit")
    if limits and (len(limits) != 2 or not all(map(_is_limit, limits))):
        return f"header 'timelimit' is {_quote(limits)}"
    if headers["task"] not in tasks:
        return f"unknown task {_quote(headers['task'])}"
    return None


def _is_limit(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and value >= 0)


def _body_problem(payload: Any, task: Any) -> str | None:
    if not isinstance(payload, list) or len(payload) != 3:
        return f"its body is not [arguments, named arguments, more]: {_quote(payload)}"
    args, kwargs, embedded = payload
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        return f"its arguments are not a list and an object: {_quote(payload)}"
    if embedded is not None and not isinstance(embedded, dict):
        return f"its third part is {_quote(embedded)}"
    for name, types in _EMBEDDED_TYPES.items():
        if not isinstance((embedded or {}).get(name), types):
            return f"its {name!r} is {_quote((embedded or {}).get(name))}"
    return _argument_problem(args, kwargs, task)


def _argument_problem(args: list[Any], kwargs: dict[str, Any], task: Any) -> str | None:
    if isinstance(task, RecipeTask):
        texts = all(isinstance(argument, str) for argument in args[1:])
        depth = args[5] if texts and len(args) == 6 else "0"
        if kwargs or not 3 <= len(args) <= 6 or not texts or not depth.isdecimal():
            return f"not the arguments of a recipe's task: {_quote([args, kwargs])}"
        return None
    try:
        inspect.signature(task.run).bind(*args, **kwargs)
    except (TypeError, ValueError) as error:
        return f"not the arguments of {task.name}: {error}"
    return None


def _quote(value: Any) -> str:
    return str(saferepr(value, maxlen=SHOWN, maxlevels=2))


def _describe(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
