"""Passwords of a deployment stay where they are configured."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from zocelery import servers

MARK = f"Marker{secrets.token_hex(6)}"
"""Every password of the deployment."""
RECIPE = """
{"name": "looks-around", "start": ["look", "stumble"], "nodes": {
  "look": {"wrapper": "command", "parameters": {
    "command": ["sh", "-c", "env; cat -v /proc/self/environ; ps -ww -eo args"],
    "outputs": ["*.log"]}},
  "stumble": {"task": "fail", "parameters": {"message": "no beam"}}}}
"""


@dataclass
class Site:
    """A deployment whose servers ask for passwords."""

    folder: Path
    environment: dict[str, str]
    redis_url: str
    log: Path

    def call(self, *arguments: str) -> str:
        """Run a program of the deployment; return all that it prints."""
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(
            command,
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("secrets")
    with ExitStack() as stack:
        user = f"default_user = analysis\ndefault_pass = {MARK}"
        (folder / "rabbitmq").mkdir()
        broker = stack.enter_context(
            servers.private_rabbitmq(folder / "rabbitmq", options=user)
        )
        urls = {
            "broker": broker.replace("guest:guest", f"analysis:{MARK}"),
            "redis": stack.enter_context(_redis_with_password(folder)),
            "history": f"sqlite:///{folder / 'history.sqlite'}",
        }
        yield _start(stack, folder, urls)


@contextmanager
def _redis_with_password(folder: Path) -> Iterator[str]:
    port, log = servers.free_port(), folder / "redis.log"
    configuration = folder / "redis.conf"
    configuration.write_text(
        f'port {port}\nbind 127.0.0.1\ndir {folder}\nsave ""\nrequirepass {MARK}\n'
    )
    command = [str(servers.find_redis()), str(configuration)]
    with servers.running(command, log) as process:
        servers.wait_for_port(port, process, log)
        yield f"redis://:{MARK}@127.0.0.1:{port}/0"


def _start(stack: ExitStack, folder: Path, urls: dict[str, str]) -> Site:
    lines = []
    for section, url in urls.items():
        file = folder / f"{section}-url"
        file.write_text(url + "\n")
        lines.append(f'[{section}]\nurl_file = "{file}"\n')
    lines.append(f'[wrappers]\nworking_directory = "{folder / "work"}"\n')
    (folder / "zocelery.toml").write_text("".join(lines))
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ZOCELERY_")}
    environment = {**kept, "ZOCELERY_CONFIG": str(folder / "zocelery.toml")}
    log, ready = folder / "worker.log", folder / "worker.ready"
    command = [
        *(sys.executable, "-m", "celery", "-A", "zocelery", "worker", "-E"),
        *("-Q", "control,wrappers", "-P", "threads", "-c", "2", "--loglevel", "DEBUG"),
        *("-n", "secrets@tests"),
    ]
    # some give the URL in a variable: programs must not inherit it either
    own = {"ZOCELERY_READY_FILE": str(ready), "ZOCELERY_BROKER_URL": urls["broker"]}
    stack.enter_context(servers.running(command, log, {**environment, **own}))
    servers.wait_for_file(ready, log, seconds=100)
    return Site(folder, environment, urls["redis"], log)


def test_no_password_is_seen_anywhere(site: Site) -> None:
    (site.folder / "recipe.json").write_text(RECIPE)
    said = {"apply": site.call("zocelery", "topology", "apply")}
    said["submit"] = site.call(
        "zocelery", "submit", "recipe.json", "--wait", "--json", "--run-id", "r1"
    )
    for name in ("show", "results", "logs"):
        said[name] = site.call("zocelery", name, "r1", "--json")
    said["check"] = site.call("zocelery", "check", "--json")
    said["dlq"] = site.call("zocelery", "dlq", "show", "--json")
    for name in ("conf", "stats"):  # what Flower asks for
        said[name] = site.call("celery", "-A", "zocelery", "inspect", name)
    said["report"] = site.call("celery", "-A", "zocelery", "report")

    # all of this has been there to be seen
    assert "no beam" in said["show"]
    assert "PATH=" in said["logs"]
    assert "analysis:***@" in said["check"]
    assert "secrets@tests" in said["conf"]
    assert "--loglevel DEBUG" in said["logs"]  # the worker's command line
    assert "no beam" in _all_of(site.redis_url)
    for name, text in said.items():
        assert MARK not in text, name
    assert MARK not in site.log.read_text()
    assert MARK not in _all_of(site.redis_url)
    for file in site.folder.rglob("*"):
        is_configuration = file.name.endswith(("-url", ".conf")) or "mnesia" in str(
            file
        )
        if file.is_file() and not is_configuration:
            assert MARK.encode() not in file.read_bytes(), file


def _all_of(url: str) -> str:
    """Return all that stands in Redis; DUMP would compress it."""
    with redis.Redis.from_url(url) as client:
        readers = {
            b"string": client.get,
            b"hash": client.hgetall,
            b"list": lambda key: client.lrange(key, 0, -1),
            b"set": client.smembers,
            b"zset": lambda key: client.zrange(key, 0, -1),
            b"stream": client.xrange,
        }
        keys = list(client.scan_iter())
        return repr([(key, readers[client.type(key)](key)) for key in keys])


@pytest.mark.parametrize("section", ["broker", "redis", "history"])
def test_a_wrong_password_is_not_repeated(site: Site, section: str) -> None:
    wrong = {
        "broker": (site.folder / "broker-url").read_text().replace(MARK, MARK + "x"),
        "redis": (site.folder / "redis-url").read_text().replace(MARK, MARK + "x"),
        "history": f"mysql+pymysql://analysis:{MARK}@127.0.0.1:1/zocelery",
    }
    variable = f"ZOCELERY_{section.upper()}_URL"
    environment = {**site.environment, variable: wrong[section].strip()}
    short = {"ZOCELERY_BROKER_CONNECT_TIMEOUT": "0.5"}
    changed = Site(site.folder, {**environment, **short}, site.redis_url, site.log)
    (site.folder / "echo.json").write_text(
        '{"nodes": {"a": {"task": "echo"}}, "start": "a"}'
    )
    said = changed.call("zocelery", "submit", "echo.json")
    assert "Error:" in said
    assert "Traceback" not in said
    assert MARK not in said
