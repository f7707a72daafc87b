"""What a task publishes is as urgent as the task, unless it says otherwise."""

import pytest
from celery import Celery, Signature, current_app
from celery.contrib.testing.worker import start_worker

from zocelery.celery import celery_settings
from zocelery.settings import current_settings

SETTING = "task_inherit_parent_priority"


@pytest.mark.parametrize("inherits", [True, False], ids=["with", "without"])
def test_what_a_task_publishes_is_as_urgent_as_it_only_with_the_setting(inherits: bool):
    chosen = celery_settings(current_settings()).get(SETTING) if inherits else False
    usual = current_app._get_current_object()
    app = Celery(f"urgency-{inherits}", broker="memory://", backend="cache+memory://")
    app.conf.update({SETTING: chosen, "task_default_queue": f"first-{inherits}"})
    app.conf.broker_transport_options = {"polling_interval": 0.01}
    asked = f"asked-{inherits}"

    @app.task(name=f"ask-{inherits}")
    def ask() -> None:
        Signature("end", app=app, options={"queue": asked}).apply_async()

    try:
        with start_worker(app, perform_ping_check=False, pool="solo"):
            ask.apply_async(priority=9).get(timeout=20)
        with app.connection_for_read() as connection:
            message = connection.SimpleQueue(asked).get(timeout=5)
            assert (message.properties.get("priority") == 9) == inherits
    finally:
        usual.set_current()
        app.close()
