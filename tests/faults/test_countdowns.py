"""No message is held back for less than a second, but for more than nothing.

Quorum queues refuse such countdowns, and Celery then throws the message away.
"""

from typing import Any

import pytest
from celery.exceptions import Ignore
from hypothesis import given
from hypothesis import strategies as st

from zocelery.canvas import RUN_ITSELF, Canvas
from zocelery.celery import app
from zocelery.deliveries import DeliveredTask
from zocelery.plan import Plan
from zocelery.recipe import Retry
from zocelery.recipe_format import parse_recipe
from zocelery.registry import load_catalogue
from zocelery.settings import current_settings
from zocelery.task import retry_pause

pytestmark = pytest.mark.faults


def is_allowed(countdown: Any) -> bool:
    return countdown is None or countdown == 0 or countdown >= 1


@given(
    st.floats(min_value=0.001, max_value=3600),
    st.floats(min_value=0.001, max_value=86400),
    st.integers(min_value=0, max_value=99),
)
def test_pauses_before_another_try(pause: float, longest: float, retries: int):
    found = retry_pause(Retry(pause=pause, longest_pause=longest), retries)
    assert found >= 1
    assert found <= max(1, round(longest))


@given(st.floats(min_value=0, max_value=1000))
def test_delays_that_a_recipe_asks_for(delay: float):
    node = {"task": "echo", "transport-delay": delay}
    recipe = parse_recipe({"nodes": {"a": node}, "start": "a"})
    plan = Plan(recipe, load_catalogue(current_settings().queues))
    canvas = Canvas(app, "run", plan, None, 9)  # type: ignore[arg-type]  # not asked
    signature = canvas.node("a", "unit", None, RUN_ITSELF)
    assert is_allowed(signature.options.get("countdown"))


@given(st.floats(min_value=0, max_value=100))
def test_messages_that_come_back_later(seconds: float):
    told: dict[str, Any] = {}

    class Request(dict[str, Any]):
        delivery_info: dict[str, Any] = {}  # noqa: RUF012  # as Celery's own
        retries = 0

    class Signature:
        def apply_async(self) -> None:
            pass

    class Task(DeliveredTask):
        name = "a-task"
        request = Request()

        def signature_from_request(self, *_: Any, **options: Any) -> Any:
            told.update(options)
            return Signature()

    with pytest.raises(Ignore):
        Task().come_back_later(seconds)
    assert told["countdown"] >= 1
