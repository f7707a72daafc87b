"""Dead letters, for operators: look at them, send them again, give them up.

A letter is acknowledged only after it is safe: published and confirmed by the broker,
or recorded as failed, or written to a file that is on the disk. A command that is
killed half way has lost nothing; what it had done already is done again under the same
id, which changes nothing.
"""

import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from amqp.exceptions import ChannelError
from celery import Celery

from zocelery.dead_letter import publish_exactly
from zocelery.dead_letter_box import (
    DeadLetterBox,
    HeldLetter,
    Selection,
    alone,
    open_box,
)
from zocelery.dead_letter_format import DeadLetter, from_line
from zocelery.dead_letter_units import (
    NotTakenBackError,
    give_up,
    hold_open,
    take_back,
)
from zocelery.deployment import Deployment
from zocelery.errors import InputFileError, UserError
from zocelery.queues import EXCHANGE, QUEUE_NAMES, dead_letter_queue

PATIENCE = 60.0
"""Seconds to wait for another command that holds the same letters."""
GLANCE_PATIENCE = 5.0
BATCH_LETTERS = 200
BATCH_BYTES = 20_000_000
"""So much is held at once: taken back together, or written before one fsync."""


class LettersHeldError(UserError):
    """Somebody else works on the same dead letters."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one dead letter."""

    letter: DeadLetter
    done: bool
    note: str
    """For people: what was done, or why the letter stays where it is."""


class DeadLetters:
    """The dead letters of one deployment."""

    def __init__(self, app: Celery, deployment: Deployment) -> None:
        """Use the broker of `app` and the runs of `deployment`."""
        self._app = app
        self._deployment = deployment

    def look(self, selection: Selection) -> Iterator[DeadLetter]:
        """Yield the letters that are meant; none is moved, changed or acknowledged.

        While another command holds letters, those cannot be seen: it is waited for, but
        not for long.
        """
        for queue in selection.work_queues():
            with (
                alone(self._deployment.store, queue, GLANCE_PATIENCE),
                open_box(self._app, queue) as box,
            ):
                for held in _meant(box, queue, selection):
                    yield held.letter

    def reinject(self, selection: Selection) -> Iterator[Outcome]:
        """Publish letters to their work queues, then acknowledge them.

        Letters of the same id, body and number of re-injections are copies that a dying
        worker has left: one of them is published.

        Raises:
            LettersHeldError: another command works on them, for a minute already.
        """
        sent: set[tuple[str, int, str]] = set()
        with self._sender() as send:
            for batch in self._held_batches(selection):
                refused = self._take_back(held.letter for held in batch)
                for held in batch:
                    outcome = self._send_again(send, held.letter, refused, sent)
                    if outcome.done:
                        held.acknowledge()
                    yield outcome

    def drop(self, selection: Selection, reason: str = "") -> Iterator[Outcome]:
        """Record the units of letters as failed, then acknowledge them.

        Raises:
            LettersHeldError: another command works on them, for a minute already.
        """
        for batch in self._held_batches(selection):
            self._hold_open(batch)
            for held in batch:
                outcome = self._drop(held.letter, reason)
                held.acknowledge()
                yield outcome

    def purge(
        self, selection: Selection, file: Path, *, drop: bool = True
    ) -> Iterator[Outcome]:
        """Write letters to a new file, and acknowledge what is safely on the disk.

        Args:
            selection: which.
            file: must not be there yet.
            drop: record their units as failed; else their runs go on waiting for what
                is in the file.

        Raises:
            InputFileError: the file is there already, or cannot be written.
            LettersHeldError: another command works on the letters.
        """
        with _new_file(file) as stream:
            for batch in self._held_batches(selection):
                _write_safely(stream, file, batch)
                if drop:
                    self._hold_open(batch)
                for held in batch:
                    kept = Outcome(held.letter, True, "its run goes on waiting")
                    outcome = self._drop(held.letter, "purged") if drop else kept
                    held.acknowledge()
                    yield outcome

    def reinject_file(self, file: Path, selection: Selection) -> Iterator[Outcome]:
        """Publish letters that `purge` has written; the file stays as it is.

        Raises:
            InputFileError: the file has something else in it; nothing was published.
            LettersHeldError: somebody else is re-injecting the same file.
        """
        with _locked(file) as stream, self._sender() as send:
            for _ in _letters_in(stream, file):
                pass  # a mistake in the last line is found before the first is sent
            stream.seek(0)
            sent: set[tuple[str, int, str]] = set()
            meant = filter(selection.fits, _letters_in(stream, file))
            for batch in _batches(meant, lambda letter: len(letter.body)):
                refused = self._take_back(batch)
                for letter in batch:
                    yield self._send_again(send, letter, refused, sent)

    def _held_batches(self, selection: Selection) -> Iterator[list[HeldLetter]]:
        for box in self._boxes(selection):
            yield from _batches(box, lambda held: len(held.letter.body))

    def _boxes(self, selection: Selection) -> Iterator[Iterator[HeldLetter]]:
        """Yield the letters that are meant, queue by queue, while nobody else has them.

        They can be acknowledged until the next queue is asked for.
        """
        for queue in selection.work_queues():
            with (
                alone(self._deployment.store, queue, PATIENCE) as ours,
                open_box(self._app, queue) as box,
            ):
                if not ours:
                    raise LettersHeldError(
                        f"another 'zocelery dlq' works on {dead_letter_queue(queue)!r}"
                    )
                yield _meant(box, queue, selection)

    def _drop(self, letter: DeadLetter, reason: str) -> Outcome:
        why = f"dropped{': ' + reason if reason else ''}: {letter.error}"
        note = give_up(self._app, self._deployment, letter, why)
        return Outcome(letter, True, note)

    def _hold_open(self, batch: Iterable[HeldLetter]) -> None:
        for held in batch:
            hold_open(self._deployment, held.letter)

    def _take_back(self, letters: Iterable[DeadLetter]) -> dict[str, str]:
        """Let the runs of many letters wait for them; return who cannot, and why.

        All before the first is published, so that a run ends once they are all done,
        and not with each of them.
        """
        refused: dict[str, str] = {}
        for letter in letters:
            try:
                take_back(self._app, self._deployment, letter)
            except NotTakenBackError as error:
                refused[letter.id] = str(error)
        return refused

    def _send_again(
        self,
        send: "_Sender",
        letter: DeadLetter,
        refused: Mapping[str, str],
        sent: set[tuple[str, int, str]],
    ) -> Outcome:
        if letter.id in refused:
            return Outcome(letter, False, refused[letter.id])
        if letter.copy_key in sent:
            return Outcome(letter, True, "a copy of one sent before")
        try:
            send(letter)
        except NotTakenBackError as error:
            return Outcome(letter, False, str(error))
        sent.add(letter.copy_key)
        return Outcome(letter, True, f"sent to {letter.queue}")

    @contextmanager
    def _sender(self) -> Iterator["_Sender"]:
        with self._app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
            yield _Sender(connection)


class _Sender:
    """Publishes letters one by one, each confirmed."""

    def __init__(self, connection: Any) -> None:
        """Use a connection that confirms what is published."""
        self._connection = connection
        self._producer = connection.Producer()

    def __call__(self, letter: DeadLetter) -> None:
        headers, properties = letter.to_publish()
        known = letter.queue in QUEUE_NAMES
        exchange = EXCHANGE if known else ""
        try:
            publish_exactly(
                self._producer,
                letter.body,
                headers,
                properties,
                exchange,
                letter.queue,
            )
        except ChannelError as error:
            self._producer = self._connection.Producer(self._connection.channel())
            raise NotTakenBackError(f"queue {letter.queue!r}: {error}") from error


def new_file_name(folder: Path) -> Path:
    """Return a name for a file of exported letters that nobody has used before."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return folder / f"dead-letters-{stamp}-{uuid.uuid4().hex[:8]}.jsonl"


_Item = TypeVar("_Item")


def _batches(
    items: Iterable[_Item], size_of: Callable[[_Item], int]
) -> Iterator[list[_Item]]:
    batch: list[_Item] = []
    size = 0
    for item in items:
        batch.append(item)
        size += size_of(item)
        if len(batch) >= BATCH_LETTERS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _meant(
    box: DeadLetterBox, queue: str, selection: Selection
) -> Iterator[HeldLetter]:
    if selection.queues and box.count() is None:
        raise UserError(f"there is no queue {dead_letter_queue(queue)!r}")
    return (held for held in box.letters() if selection.fits(held.letter))


def _new_file(file: Path) -> IO[str]:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        _sync_folder(file.parent)
    except OSError as error:
        raise InputFileError(f"{file}: cannot be written: {error.strerror}") from error
    return os.fdopen(descriptor, "w")


def _write_safely(stream: IO[str], file: Path, batch: Iterable[HeldLetter]) -> None:
    try:
        stream.writelines(held.letter.to_line() + "\n" for held in batch)
        stream.flush()
        os.fsync(stream.fileno())
    except OSError as error:
        raise InputFileError(f"{file}: cannot be written: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    """Let the file's name survive a power cut, not only what is in it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(file: Path) -> Iterator[IO[str]]:
    try:
        stream = file.open()
    except OSError as error:
        raise InputFileError(f"{file}: cannot be read: {error.strerror}") from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LettersHeldError(f"{file}: is just being re-injected") from error
        yield stream


def _letters_in(stream: IO[str], file: Path) -> Iterator[DeadLetter]:
    try:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield from_line(line, file, number)
    except UnicodeDecodeError as error:
        raise InputFileError(f"{file}: is not text: {error}") from error
