"""Runs of a script in Redis: several in one round trip, or sent now and asked later."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.exceptions import NoScriptError, RedisError

ScriptArguments = tuple[list[Any], list[Any]]
"""Keys, and other arguments."""


class ScriptCalls:
    """Runs of a registered script: each is sent at once, all answers are read later.

    What it was sent Redis does, whether its sender lives to read the answer or not. If
    the connection is lost everything is sent again: the script must not mind.
    """

    def __init__(self, client: Any, script: Any) -> None:
        """Speak to the server of `client`; no connection is taken yet."""
        self._client = client
        self._script = script
        self._calls: list[ScriptArguments] = []
        self._connection: Any = None
        self._is_lost = False

    def send(self, call: ScriptArguments) -> None:
        """Have the script run, now; later if Redis cannot be reached."""
        # what checks the connection would read the answers that are owed
        may_check, (keys, args) = not self._calls, call
        self._calls.append(call)
        with self._noting_loss():
            if self._connection is None and not self._is_lost:
                self._connection = self._client.connection_pool.get_connection()
            if self._connection is not None:
                command = ("EVALSHA", self._script.sha, len(keys), *keys, *args)
                self._connection.send_command(*command, check_health=may_check)

    def answers(self) -> list[Any]:
        """Return what the script has answered, in the order in which it was sent.

        Raises:
            RedisError: it is not known which runs of the script have been done.
        """
        calls, self._calls = self._calls, []
        answers = []
        with self._noting_loss():
            if self._connection is not None:
                answers = [self._connection.read_response() for _ in calls]
        self._release()
        self._is_lost = False
        if len(answers) < len(calls):
            answers = run_together(self._client, self._script, calls)
        return answers

    @contextmanager
    def _noting_loss(self) -> Iterator[None]:
        """Give the connection up after an error: nobody knows what it still brings."""
        try:
            yield
        except BaseException as error:
            self._is_lost = True
            if self._connection is not None:
                self._connection.disconnect()
            self._release()
            if not isinstance(error, RedisError | OSError):
                raise

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._client.connection_pool.release(connection)


def run_together(
    client: Any, script: Any, calls: Sequence[ScriptArguments]
) -> list[Any]:
    """Run a registered script several times, one after the other, in one round trip.

    Not as a whole: others may come in between, and some may be done if this fails.
    """
    try:
        return _run_together(client, script.sha, calls)
    except NoScriptError:  # Redis has been restarted
        client.script_load(script.script)
        return _run_together(client, script.sha, calls)


def _run_together(client: Any, sha: str, calls: Sequence[ScriptArguments]) -> list[Any]:
    with client.pipeline(transaction=False) as pipe:
        for keys, args in calls:
            pipe.evalsha(sha, len(keys), *keys, *args)
        answers: list[Any] = pipe.execute()
    return answers
