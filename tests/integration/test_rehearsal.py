"""A bridge that says that it is ready answers its first message as all others."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import lims_rows
from tests.bridge_site import ECHO
from tests.lims_rows import GRID_DCID, add_second_grid
from zocelery import servers

RECIPE = {"1": ECHO, "start": [[1, []]]}
SCRIPT = """
import json, os, sys
from zocelery.bridge.delivery import Delivery
from zocelery.bridge.desk import Desk
from zocelery.bridge.rehearsal import rehearse
from zocelery.celery import app, apply_topology
from zocelery import submission
from zocelery.deployment import current_deployment
deployment, begun = current_deployment(), []
submission.begin_run = begun.append  # no worker of others gets it
if "away" not in sys.argv:
    with app.connection_for_write() as connection:
        apply_topology(connection, deployment.settings)
rehearse(app, deployment)
started = 0 if "away" in sys.argv else len(deployment.history.recent_runs(500))
before = set(sys.modules)
if "away" not in sys.argv:
    asked = {"ispyb_dcid": int(sys.argv[1]), "event": "start", "word": sys.argv[2]}
    body = json.dumps({"recipes": ["mimas"], "parameters": asked})
    Desk(app, deployment).deal_with(Delivery("processing_recipe", body.encode()))
new = sorted(set(sys.modules) - before)
print(json.dumps({"started": started, "new": new, "begun": len(begun)}))
sys.stdout.flush()
os._exit(0)
"""


@pytest.fixture(scope="module")
def lims(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A LIMS with a pair of grids."""
    made = lims_rows.sqlite_lims(tmp_path_factory.mktemp("lims"))
    made.write(add_second_grid)
    yield f"sqlite:///{made.url.database}"
    made.close()


def rehearsed(*given: str, **environment: str) -> tuple[dict[str, object], str]:
    """Rehearse in a process of its own; return what it found, and its log."""
    command = [sys.executable, "-c", SCRIPT, *given]
    ran = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(ran.stdout.splitlines()[-1]), ran.stderr


def test_after_the_rehearsal_the_first_message_loads_nothing_more(
    lims: str, redis_url: str, rabbitmq_url: str, tmp_path: Path
):
    assert rabbitmq_url
    (tmp_path / "grid-scan-3d.json").write_text(json.dumps(RECIPE))
    history = f"sqlite:///{tmp_path / 'history.sqlite'}"
    found, log = rehearsed(
        str(GRID_DCID),
        "first",
        ZOCELERY_LIMS_URL=lims,
        ZOCELERY_HISTORY_URL=history,
        ZOCELERY_REDIS_URL=f"{redis_url.removesuffix('/0')}/1",
        ZOCELERY_RECIPES_FOLDERS=json.dumps([str(tmp_path)]),
    )
    assert found["started"] == 0  # by the rehearsal
    assert found["begun"] == 1
    heavy = ("zocelery", "ispyb", "sqlalchemy", "alembic", "amqp", "redis", "pymysql")
    names = [str(name) for name in found["new"]]  # type: ignore[attr-defined]
    assert [name for name in names if name.startswith(heavy)] == []
    assert "longer" not in log


def test_a_rehearsal_without_servers_tells_what_is_away_and_goes_on(tmp_path: Path):
    nowhere = f"127.0.0.1:{servers.free_port()}"
    _, log = rehearsed(
        "away",
        ZOCELERY_BROKER_URL=f"amqp://{nowhere}//",
        ZOCELERY_BROKER_CONNECT_TIMEOUT="1",
        ZOCELERY_REDIS_URL=f"redis://{nowhere}/0",
        ZOCELERY_LIMS_URL=f"mysql+pymysql://x@{nowhere}/ispyb",
        ZOCELERY_HISTORY_URL=f"sqlite:///{tmp_path / 'history.sqlite'}",
    )
    assert "The first messages may take longer: cannot reach RabbitMQ" in log
    assert "The first messages may take longer: cannot reach the LIMS" in log
