import pytest
from celery import Signature
from celery.exceptions import Reject, Retry
from kombu.exceptions import OperationalError

from zocelery import deliveries
from zocelery.celery import app
from zocelery.deliveries import DeliveredTask


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> DeliveredTask:
    app.loader.import_default_modules()
    found = app.tasks["zocelery.echo"]
    monkeypatch.setattr(deliveries.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(found, "_forgive", lambda: None)
    found.push_request(
        id="a-unit",
        args=["payload", "run", "node"],
        kwargs={},
        called_directly=False,
        delivery_info={"routing_key": "control"},
    )
    yield found
    found.pop_request()


def test_a_try_that_cannot_be_published_is_given_back_to_the_broker(task, monkeypatch):
    def _away(*_: object, **__: object) -> None:
        raise OperationalError("the broker is away")

    monkeypatch.setattr(Signature, "apply_async", _away)
    with pytest.raises(Reject, match="the broker is away") as given_back:
        task.give_back(ConnectionError("Redis is away"))
    assert given_back.value.requeue


def test_a_try_that_is_published_has_its_own_message(task, monkeypatch):
    sent = []
    monkeypatch.setattr(
        Signature, "apply_async", lambda signature, *_, **__: sent.append(signature)
    )
    with pytest.raises(Retry):
        task.give_back(ConnectionError("Redis is away"))
    assert [(s.id, s.options["retries"]) for s in sent] == [("a-unit", 1)]
