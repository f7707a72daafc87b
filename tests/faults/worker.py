"""A worker as `celery -A zocelery worker` starts it, with some settings changed.

`FAULTS_SETTINGS` holds a JSON object of Celery settings: the tests take away one at a
time and look whether what it promises is gone. `FAULTS_VERSION` makes it a worker of
another version. `FAULTS_KILL`, as "after MODULE:NAME", kills its process there, once:
then the file `FAULTS_KILLED` is there.
"""

import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from zocelery import versions


def main() -> None:
    """Change the settings, then run the worker."""
    version = os.environ.get("FAULTS_VERSION", versions.MESSAGE_VERSION)
    versions.MESSAGE_VERSION = int(version)
    # Others take the number from there when they are imported.
    from zocelery.celery import app

    if "FAULTS_KILL" in os.environ:
        kill_once(*os.environ["FAULTS_KILL"].split(), Path(os.environ["FAULTS_KILLED"]))
    app.conf.update(json.loads(os.environ.get("FAULTS_SETTINGS", "{}")))
    app.worker_main(sys.argv[1:])


def kill_once(when: str, where: str, flag: Path) -> None:
    """Let the process be killed before or after the function `MODULE:NAME`, once."""
    module, _, path = where.partition(":")
    *parents, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for parent in parents:
        owner = getattr(owner, parent)
    function = getattr(owner, name)

    def die() -> None:
        try:
            flag.touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def killing(*args: Any, **options: Any) -> Any:
        if when == "before":
            die()
        answer = function(*args, **options)
        if when == "after":
            die()
        return answer

    setattr(owner, name, killing)


if __name__ == "__main__":
    main()
