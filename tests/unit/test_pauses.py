"""What workers say of themselves."""

import fakeredis

from zocelery.pauses import GONE_SECONDS, Pauses, WorkerReport


def test_workers_that_went_long_ago_are_forgotten():
    client = fakeredis.FakeRedis(decode_responses=True)
    pauses = Pauses(client)
    for name, age in (("here", 0.0), ("lately", 100.0), ("gone", GONE_SECONDS + 1)):
        time = pauses.now() - age
        pauses.report(WorkerReport(name, "host", "", 1, ("lims",), (), time))
    pauses.forget_gone()
    assert set(client.hkeys("zocelery:workers")) == {"here", "lately"}
