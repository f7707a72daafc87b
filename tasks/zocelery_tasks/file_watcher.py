"""Watch for images as a detector writes them, and tell of each when it is there."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zocelery.errors import ParameterError
from zocelery.messages import Burst, Emission, Step
from zocelery.settings import current_settings
from zocelery_tasks.file_watcher_parameters import FileWatcherParameters
from zocelery_tasks.probe_client import ProbeClient
from zocelery_tasks.watch_channels import Told, WatchChannels
from zocelery_tasks.watch_targets import Target, choose_target

logger = logging.getLogger(__name__)

SHORTEST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 1.0
_PAUSE_PER_IDLE = 0.05
"""A watch that has seen nothing for a time looks again after this part of it."""
_GROWING_S = 5.0
"""A file that takes longer to grow is looked at like one that is not there."""
_GRACE_S = 1.0
"""Images that are missing for so long while later ones are there are passed over."""
_SLOW_LOOK_S = 5.0


def watch_files(step: Step, state: Mapping[str, Any]) -> Iterator[Burst]:
    """Watch for images and tell of each as soon as it is written.

    Images are told of in their order. One that is missing while later ones are there
    is passed over after a second and told of when it comes after all. Streams name
    their members by the image's number, from 1. A file of a pattern or list counts as
    there when it has a size that has stopped changing; an image of an HDF5 file when
    its chunk is stored. What cannot be read (yet) is waited for, whatever the reason,
    until the timeout.

    Args:
        step: the node, with the parameters of `FileWatcherParameters`.
        state: of an earlier watch that this one takes up, or {}.

    Yields:
        News after each look, with pauses from 20 ms to 1 s.

    Raises:
        ParameterError: if the parameters or a channel cannot be used, or a file is
            outside of the allowed folders.
    """
    parameters = FileWatcherParameters.parse(step.parameters)
    parameters.check_files()
    channels = WatchChannels.parse(step.channels)
    target = choose_target(parameters, current_settings().files.roots)
    with ProbeClient(parameters.look_timeout) as probe:
        yield from _Watch(parameters, channels, target, probe, state).run()


@dataclass
class _Progress:
    """How far a watch has come: its state."""

    next: int = 1
    """The first image that has neither come nor been passed over."""
    skipped: list[int] = field(default_factory=list)
    """Images that were passed over and may still come."""
    total: int | None = None
    start: float = field(default_factory=time.time)
    """Since the epoch, as all times in the state: another process may go on."""
    last_seen: float | None = None
    ended: bool = False

    @classmethod
    def load(cls, state: Mapping[str, Any], total: int | None) -> "_Progress":
        """Read what `dump` made; an empty state begins a watch for `total` images."""
        if not state:
            return cls(total=total)
        return cls(
            next=int(state["next"]),
            skipped=list(state["skipped"]),
            total=state["total"],
            start=float(state["start-time"]),
            last_seen=state["last-seen"],
            ended=bool(state["ended"]),
        )

    def dump(self) -> dict[str, Any]:
        """Return the state as a JSON object, under the names of Zocalo's watcher."""
        return {
            "next": self.next,
            "skipped": list(self.skipped),
            "total": self.total,
            "start-time": self.start,
            "last-seen": self.last_seen,
            "ended": self.ended,
        }

    @property
    def seen(self) -> int:
        """Images that have come."""
        return self.next - 1 - len(self.skipped)

    @property
    def is_complete(self) -> bool:
        """Whether all images have come; never while their number is not known."""
        return self.total is not None and self.seen >= self.total

    def idle(self, now: float) -> float:
        """Return the seconds since the last image, or since the start."""
        return max(now - (self.last_seen or self.start), 0.0)


class _Watch:
    """One watch, from start or where another left off."""

    def __init__(
        self,
        parameters: FileWatcherParameters,
        channels: WatchChannels,
        target: Target,
        probe: ProbeClient,
        state: Mapping[str, Any],
    ) -> None:
        self._parameters = parameters
        self._channels = channels
        self._target = target
        self._probe = probe
        self._progress = _Progress.load(state, target.total)
        self._next_thorough_look = 0.0
        self._why: str | None = None
        self._looks = 0
        self._look_time = 0.0
        self._longest_look = 0.0

    def run(self) -> Iterator[Burst]:
        """Look until all images have come or the patience is at an end."""
        progress = self._progress
        while not progress.ended:
            if progress.is_complete:
                yield self._end("success")
                return
            if self._is_at_blank():
                yield self._end("error")
                return
            answer = self._look()
            emissions, found = self._take(answer)
            if emissions or found:
                pause = 0.0 if found >= self._parameters.burst_limit else None
                yield self._burst(emissions, pause, growing=False)
                continue
            growing = bool(answer.get("growing"))
            if not growing and self._has_timed_out():
                yield self._end("timeout")
                return
            yield self._burst([], None, growing=growing)

    # looking

    def _look(self) -> dict[str, Any]:
        progress, now = self._progress, time.time()
        is_idle = progress.idle(now) > _GRACE_S
        patient = bool(is_idle or progress.skipped) and now >= self._next_thorough_look
        numbers = self._window()
        if patient:
            self._next_thorough_look = now + _GRACE_S
            numbers = [*progress.skipped, *numbers][: self._parameters.burst_limit]
        answer = self._probe.ask(self._target.question(numbers, patient=patient))
        if "refused" in answer:
            raise ParameterError(answer["refused"])
        self._why = answer.get("why") or self._why
        self._note_time(float(answer.get("took", 0)))
        return answer

    def _window(self) -> list[int]:
        """Return the numbers to look for next: up to an end, a blank, the limit."""
        start, total = self._progress.next, self._progress.total
        end = start + self._parameters.burst_limit
        if total is not None:
            end = min(end, total + 1)
        blank = (n for n in range(start, end) if self._target.is_blank(n))
        return list(range(start, next(blank, end)))

    def _take(self, answer: Mapping[str, Any]) -> tuple[list[Emission], int]:
        """Note what is there; return what to tell, and of how many images."""
        late = self._learn_total(answer.get("total"))
        found = self._advance(set(answer["present"]))
        if not found:
            return late, 0
        seen_at = time.time()
        self._progress.last_seen = seen_at
        total = self._progress.total
        emissions = [
            emission
            for number in found
            for emission in self._emit(
                number, self._channels.tell(number, total), seen_at
            )
        ]
        return late + emissions, len(found)

    def _learn_total(self, total: int | None) -> list[Emission]:
        """Note how many images there will be; tell what depended on it."""
        progress = self._progress
        if progress.total is not None or total is None:
            return []
        progress.total = max(total, progress.next - 1)
        told = (n for n in range(1, progress.next) if n not in progress.skipped)
        seen_at = progress.last_seen or progress.start
        return [
            emission
            for number in told
            for emission in self._emit(
                number, self._channels.tell_late(number, progress.total), seen_at
            )
        ]

    def _emit(
        self, number: int, told: Iterator[Told], seen_at: float
    ) -> Iterator[Emission]:
        for each in told:
            item = str(number) if each.is_stream else None
            yield Emission(each.channel, self._target.payload(number, seen_at), item)

    def _advance(self, present: set[int]) -> list[int]:
        """Return the images that are new, in order, and go on behind them."""
        progress = self._progress
        found = [number for number in progress.skipped if number in present]
        progress.skipped = [n for n in progress.skipped if n not in present]
        while progress.next in present:
            found.append(progress.next)
            progress.next += 1
        beyond = sorted(number for number in present if number > progress.next)
        if not found and beyond and progress.idle(time.time()) > _GRACE_S:
            missing = [n for n in range(progress.next, beyond[-1]) if n not in present]
            logger.warning(
                "%s: going on without image %s", self._target, _ranges(missing)
            )
            progress.skipped += missing
            progress.next = beyond[-1] + 1
            found = beyond
        return found

    def _note_time(self, took: float) -> None:
        self._looks += 1
        self._look_time += took
        self._longest_look = max(self._longest_look, took)
        if took > _SLOW_LOOK_S:
            logger.warning("%s: a look took %.1f s", self._target, took)

    # telling

    def _burst(
        self, emissions: Sequence[Emission], pause: float | None, *, growing: bool
    ) -> Burst:
        progress = self._progress
        idle = progress.idle(time.time())
        if pause is None:
            pause = min(max(_PAUSE_PER_IDLE * idle, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
        if growing and idle < _GROWING_S:
            pause = SHORTEST_PAUSE_S
        if progress.is_complete:
            pause = 0.0
        return Burst(
            emissions=tuple(emissions),
            state=progress.dump(),
            pause=max(pause, self._parameters.burst_wait),
            progress=(progress.seen, progress.total),
        )

    def _is_at_blank(self) -> bool:
        progress = self._progress
        total = progress.total
        return (
            total is not None
            and progress.next <= total
            and self._target.is_blank(progress.next)
        )

    def _has_timed_out(self) -> bool:
        parameters, progress = self._parameters, self._progress
        limit = parameters.timeout
        if progress.last_seen is None and parameters.timeout_first is not None:
            limit = parameters.timeout_first
        return progress.idle(time.time()) > limit

    def _end(self, how: str) -> Burst:
        """Tell how the watch ended: by "success", "timeout" or "error"."""
        progress, target = self._progress, self._target
        self._log_end(how)
        progress.ended = True
        counts = {
            f"{target.noun}-expected": progress.total,
            f"{target.noun}-seen": progress.seen,
        }
        told: list[tuple[str, dict[str, Any]]] = []
        if how != "success":
            first_missing = min([*progress.skipped, progress.next])
            told.append((how, target.absent(first_missing)))
        if progress.seen:
            told.append(("any", counts))
        told.append(("finally", {**counts, "success": how == "success"}))
        emissions = [
            Emission(channel, payload)
            for channel, payload in told
            if channel in self._channels.single
        ]
        return self._burst(emissions, 0.0, growing=False)

    def _log_end(self, how: str) -> None:
        parameters, progress, now = self._parameters, self._progress, time.time()
        delay = now - progress.start
        extra = {
            "delay": delay,
            "stat-time-max": self._longest_look,
            "stat-time-mean": self._look_time / max(self._looks, 1),
            "hangs": self._probe.hangs,
        }
        if parameters.expected_per_image_delay is not None and progress.total:
            expected = parameters.expected_per_image_delay * progress.total
            extra["unexpected_delay"] = max(0.0, delay - expected)
        level = logging.INFO
        if how != "success" and not parameters.log_timeout_as_info:
            level = logging.WARNING
        logger.log(
            level,
            "%s: %s of %s %s seen after %.1f s%s",
            self._target,
            progress.seen,
            "?" if progress.total is None else progress.total,
            self._target.noun,
            delay,
            "" if how == "success" else self._reason(how, now),
            extra=extra,
        )

    def _reason(self, how: str, now: float) -> str:
        if how == "error":
            return f", number {self._progress.next} of the list is empty"
        idle = self._progress.idle(now)
        return f", nothing new for {idle:.1f} s ({self._why or 'no reason known'})"


def _ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers in a short form, such as "3-5 9"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return " ".join("-".join(map(str, run)) for run in runs)
