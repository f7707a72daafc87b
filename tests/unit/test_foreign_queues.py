"""Queues that somebody else serves cannot be those of zocelery's own workers."""

import pytest

from zocelery.errors import ConfigurationError
from zocelery.queues import QUEUE_NAMES
from zocelery.registry import load_catalogue
from zocelery.settings import QueueSettings


@pytest.mark.parametrize("name", [*QUEUE_NAMES, "dlq.images"])
def test_a_queue_of_our_own_is_not_served_by_others(name: str) -> None:
    settings = QueueSettings(tasks={}, foreign=("murfey_feedback", name))
    problem = rf"^queues.foreign: queue '{name}' is one of zocelery's own"
    with pytest.raises(ConfigurationError, match=problem):
        load_catalogue(settings)
