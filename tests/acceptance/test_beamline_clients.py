"""Beamline software sees nothing but a centre: from its announcements to its answer.

The clients are dodal's own code, and the same messages byte by byte.
"""

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import amqp
import pytest
from sqlalchemy import URL, Connection, update

from tests import lims_rows
from tests.bridge_site import until
from tests.lims_rows import Site, add
from tests.lims_servers import private_mariadb, run_sql
from zocelery import servers
from zocelery.lims.connection import Lims
from zocelery.lims.tables import create_tables, table
from zocelery_tasks.simulation.scans import SimulatedGrid, simulate_grid

FILE_FOR_GDA = "xray-centering/Dials5AResults.json"
logger = logging.getLogger(__name__)
DODAL = "dls-dodal==3.0.5"
XY, XZ = 24, 18
GROUP, SECOND_GROUP, GDA_GROUP = 4321, 4322, 4323
CLIENT = Path(__file__).parents[1] / "dodal_client.py"
READY_SECONDS = 300.0


@dataclass(frozen=True)
class Deployment:
    """Servers, workers and the bridge, with their LIMS and a simulated beamline."""

    site: Site
    port: int
    root: Path
    visit: Path
    grid: SimulatedGrid
    images: list[Path]

    def folder(self, group: int) -> Path:
        """Where the detector writes the images of a group."""
        return self.visit / f"raw{group}"

    def write(self, group: int, first: int, last: int) -> None:
        """Let images appear, each at once and whole."""
        for number in range(first, last + 1):
            place = self.folder(group) / f"x_1_{number:05d}.cbf"
            draft = place.with_suffix(".tmp")
            shutil.copy(self.images[number - 1], draft)
            draft.replace(place)
            time.sleep(0.02)


class Client(Protocol):
    """What beamline software does."""

    def do(self, word: str) -> Any:
        """Do one thing and return what came of it."""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Everything that a beamline needs, and nothing of Zocalo."""
    folder = tmp_path_factory.mktemp("site")
    visit = folder / "dls" / "i03" / "data" / "2026" / "cm7-3"
    port = servers.free_port()
    grid = simulate_grid(
        folder / "frames",
        steps=(6, 4),
        third_axis=3,
        detector="test_128k",
        d_min=3.0,
        format="cbf",
        seed=3,
    )
    images = sorted(folder.glob("frames/*xy*.cbf")) + sorted(
        folder.glob("frames/*xz*.cbf")
    )
    assert len(images) == XY + XZ
    for name in ("redis", "rabbitmq", "mariadb"):
        (folder / name).mkdir()
    with ExitStack() as stack:
        redis = stack.enter_context(servers.private_redis(folder / "redis"))
        broker = stack.enter_context(
            servers.private_rabbitmq(folder / "rabbitmq", port)
        )
        root = stack.enter_context(private_mariadb(folder / "mariadb"))
        run_sql(root, "CREATE DATABASE ispyb")
        url = root.set(database="ispyb")
        lims = Lims(url)
        stack.callback(lims.close)
        create_tables(lims.engine)
        lims.write(lambda connection: add_grids(connection, visit, grid))
        start_programs(stack, folder, environment_of(folder, redis, broker, url))
        yield Deployment(Site(lims), port, folder, visit, grid, images)


def environment_of(folder: Path, redis: str, broker: str, lims: URL) -> dict[str, str]:
    return {
        **os.environ,
        "ZOCELERY_REDIS_URL": redis,
        "ZOCELERY_BROKER_URL": broker,
        "ZOCELERY_HISTORY_URL": f"sqlite:///{folder / 'history.sqlite'}",
        "ZOCELERY_LIMS_URL": lims.render_as_string(hide_password=False),
        "ZOCELERY_CLIENTS_RESULTS_BEAMLINES": '["i03"]',
        "ZOCELERY_CLIENTS_HOSTS": '["127.0.0.1"]',
        "ZOCELERY_WORKERS_IMAGE_LIMIT": "0",  # kernels may have to be compiled
    }


def start_programs(stack: ExitStack, folder: Path, environment: Any) -> None:
    worker = [sys.executable, "-m", "celery", "-A", "zocelery", "worker"]
    commands = {
        "steps": [*worker, "-Q", "control,watch", "-P", "threads", "-c", "8"],
        "lims": [*worker, "-Q", "lims", "-P", "threads", "-c", "16"],
        "images": [*worker, "-Q", "images", "-c", "2"],
        "bridge": [sys.executable, "-m", "zocelery", "bridge"],
    }
    for name, command in commands.items():
        log, ready = folder / f"{name}.log", folder / f"{name}.ready"
        given = {**environment, "ZOCELERY_READY_FILE": str(ready)}
        named = [] if name == "bridge" else ["-n", f"{name}@beamline"]
        stack.enter_context(servers.running([*command, *named], log, given))
    for name in commands:
        log, ready = folder / f"{name}.log", folder / f"{name}.ready"
        servers.wait_for_file(ready, log, seconds=READY_SECONDS)


def add_grids(connection: Connection, visit: Path, grid: SimulatedGrid) -> None:
    """Add pairs of grid scans at i03 to the LIMS."""
    lims_rows.add_visit(connection)
    connection.execute(update(table("BLSession")).values(beamLineName="i03"))
    for group in (GROUP, SECOND_GROUP, GDA_GROUP):
        folder = visit / f"raw{group}"
        folder.mkdir(parents=True)
        add(
            connection,
            "DataCollectionGroup",
            dataCollectionGroupId=group,
            sessionId=lims_rows.SESSION,
            experimentType="Mesh3D",
        )
        for number, (first, count) in enumerate(((1, XY), (XY + 1, XZ))):
            dcid = 10 * group + number
            add(
                connection,
                "DataCollection",
                dataCollectionId=dcid,
                dataCollectionGroupId=group,
                SESSIONID=lims_rows.SESSION,
                startImageNumber=first,
                numberOfImages=count,
                omegaStart=90.0 * number,
                imageDirectory=f"{folder}/",
                fileTemplate="x_1_#####.cbf",
            )
            info = grid.scans[number].gridinfo()
            add(connection, "GridInfo", dataCollectionId=dcid, **columns_of(info))


def columns_of(info: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in info.items() if value is not None}


def collections_of(group: int) -> list[dict[str, Any]]:
    """Return what dodal says of the two scans of a group."""
    scans = ((0, XY), (XY, XZ))
    return [
        {
            "ispyb_dcid": 10 * group + number,
            "filename": "x_1_master.h5",
            "start_frame_index": start,
            "number_of_frames": count,
            "message_index": number,
        }
        for number, (start, count) in enumerate(scans)
    ]


class Bytes:
    """dodal's messages byte by byte, and its queue."""

    def __init__(self, port: int, group: int) -> None:
        self._collections = collections_of(group)
        self._connection = amqp.Connection(f"127.0.0.1:{port}")
        self._connection.connect()
        self._channel: Any = self._connection.channel()

    def do(self, word: str) -> Any:
        if word == "start":
            for one in self._collections:
                self._send({**one, "event": "start"})
        elif word == "end":
            for one in self._collections:
                self._send({"event": "end", "ispyb_dcid": one["ispyb_dcid"]})
        elif word == "wait":
            return self._read(until(self._next, READY_SECONDS))
        elif word == "more":
            declared = self._channel.queue_declare("xrc.i03", passive=True)
            return declared.message_count
        return word

    def close(self) -> None:
        self._connection.close()

    def _next(self) -> Any:
        return self._channel.basic_get("xrc.i03")

    def _send(self, parameters: dict[str, Any]) -> None:
        body = json.dumps({"recipes": ["mimas"], "parameters": parameters})
        headers = {"zocalo.go.user": "hyperion", "zocalo.go.host": "i03-control"}
        message = amqp.Message(
            body, application_headers=headers, delivery_mode=2, channel=self._channel
        )
        self._channel.basic_publish(
            message, routing_key="processing_recipe", mandatory=True
        )

    def _read(self, message: Any) -> dict[str, Any]:
        """Return what dodal reads from a message."""
        self._channel.basic_ack(message.delivery_tag)
        assert message.headers == {"workflows-recipe": True}
        told = json.loads(message.body)
        given = told["recipe"][str(told["recipe-pointer"])]["parameters"]
        assert given["gpu"] is True
        results = told["payload"]["results"]
        names = ("centre_of_mass", "max_voxel", "bounding_box", "total_count")
        found = {name: [one[name] for one in results] for name in names}
        ids = {"ispyb_dcid": given["dcid"], "ispyb_dcgid": given["dcgid"]}
        return {**found, **ids, "time": time.time()}


class Dodal:
    """dodal itself, in an environment of its own."""

    def __init__(self, python: Path, configuration: Path, group: int) -> None:
        self._process = subprocess.Popen(
            [python, CLIENT, json.dumps(collections_of(group))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "ZOCALO_CONFIG": str(configuration), "PYTHONPATH": ""},
        )

    def do(self, word: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith('{"answer"'):
                return json.loads(line)["answer"]
        raise AssertionError(f"dodal ended: {self._process.wait()}")

    def close(self) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(20)
            finally:
                process.kill()


@pytest.fixture(scope="session")
def dodal(request: pytest.FixtureRequest) -> Path:
    """The Python of an environment with dodal, which is made if need be."""
    folder = Path(request.config.cache.mkdir("dodal"))  # type: ignore[union-attr]
    python = folder / "venv" / "bin" / "python"
    done = folder / "installed"
    if not done.exists() or done.read_text() != DODAL:
        uv = shutil.which("uv")
        if uv is None:
            pytest.skip("uv is not on PATH: it makes the environment for dodal")
        make = [
            uv,
            "venv",
            "-q",
            "--clear",
            "--python",
            sys.executable,
            python.parents[1],
        ]
        install = [uv, "pip", "install", "-q", "--python", python, DODAL]
        for command in (make, install):
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            if ran.returncode:
                pytest.skip(f"{DODAL} cannot be installed: {ran.stderr[-300:]}")
        done.write_text(DODAL)
    return python


@pytest.fixture
def byte_client(deployment: Deployment) -> Iterator[Client]:
    client = Bytes(deployment.port, GROUP)
    yield client
    client.close()


@pytest.fixture
def dodal_client(
    deployment: Deployment, dodal: Path, tmp_path: Path
) -> Iterator[Client]:
    configuration = tmp_path / "zocalo.yaml"
    broker = {
        "plugin": "pika",
        "host": "127.0.0.1",
        "port": deployment.port,
        "username": "guest",
        "password": "guest",
        "vhost": "/",
    }
    environments = {"bluesky": {"plugins": ["broker"]}}
    document = {"version": 1, "broker": broker, "environments": environments}
    configuration.write_text(json.dumps(document))
    client = Dodal(dodal, configuration, SECOND_GROUP)
    yield client
    client.close()


@pytest.mark.parametrize(
    ("name", "group"), [("byte_client", GROUP), ("dodal_client", SECOND_GROUP)]
)
def test_a_pair_of_grid_scans_gives_one_centre(
    request: pytest.FixtureRequest,
    deployment: Deployment,
    name: str,
    group: int,
):
    client: Client = request.getfixturevalue(name)
    client.do("stage")
    deployment.write(group, 1, 10)
    for _ in range(2):  # everything is announced twice
        client.do("start")
    deployment.write(group, 11, XY + XZ)
    written = time.time()
    for _ in range(2):
        client.do("end")
    found = client.do("wait")
    logger.info("%s: %.3f s from the last image", name, found["time"] - written)
    assert found["ispyb_dcgid"] == group
    assert found["ispyb_dcid"] == 10 * group + 1
    (centre,) = found["centre_of_mass"]
    assert centre == pytest.approx(deployment.grid.centre, abs=0.6)
    wait_for_rows(deployment.site, group)
    assert client.do("more") == 0


def test_gda_is_told_of_each_image_and_finds_the_centre_in_its_file(
    deployment: Deployment,
):
    deployment.write(GDA_GROUP, 1, XY)
    dcid = 10 * GDA_GROUP
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gda:
        gda.bind(("127.0.0.1", 0))
        gda.settimeout(READY_SECONDS)
        given = {"gda_host": "127.0.0.1", "gda_port": gda.getsockname()[1]}
        parameters = {"ispyb_dcid": dcid, **given}
        body = {"recipes": ["grid-scan"], "parameters": parameters}
        with amqp.Connection(f"127.0.0.1:{deployment.port}") as connection:
            message = amqp.Message(json.dumps(body))  # without any property
            connection.channel().basic_publish(message, routing_key="processing_recipe")
        told = [gda.recv(1000).decode("latin-1").split(":") for _ in range(XY)]
    assert {tuple(one[:2]) for one in told} == {("PIA", str(dcid))}
    assert sorted(int(one[2]) for one in told) == list(range(1, XY + 1))
    pattern = f"**/{FILE_FOR_GDA}"
    (file,) = until(lambda: list(deployment.root.glob(pattern)), READY_SECONDS)
    found = json.loads(file.read_text())
    assert found["status"] == "ok"
    centre = (found["centre_x_box"], found["centre_y_box"])
    assert centre == pytest.approx(deployment.grid.centre[:2], abs=0.6)
    where = {"dataCollectionGroupId": GDA_GROUP}
    site = deployment.site
    until(lambda: site.rows("XrayCentring", "status", **where))
    assert site.rows("XrayCentring", "xrayCentringType", **where) == [("2d",)]


def wait_for_rows(site: Site, group: int) -> None:
    """Wait until all is in the LIMS; it is there once."""

    def _counts() -> list[int]:
        return [
            len(
                site.rows(
                    "ImageQualityIndicators", "imageNumber", dataCollectionId=dcid
                )
            )
            for dcid in (10 * group, 10 * group + 1)
        ]

    until(lambda: _counts() == [XY, XZ])
    where = {"dataCollectionGroupId": group}
    until(lambda: site.rows("XrayCentring", "status", **where))
    columns = ("status", "xrayCentringType")
    assert site.rows("XrayCentring", *columns, **where) == [("success", "3d")]
    (key,) = site.rows("XrayCentring", "xrayCentringId", **where)[0]
    assert len(site.rows("XrayCentringResult", "totalCount", xrayCentringId=key)) == 1
