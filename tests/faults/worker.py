"""A worker as `celery -A zocelery worker` starts it, with some settings changed.

`FAULTS_SETTINGS` holds a JSON object of Celery settings: the tests take away one at a
time and look whether what it promises is gone.
"""

import json
import os
import sys

from zocelery.celery import app


def main() -> None:
    """Change the settings, then run the worker."""
    app.conf.update(json.loads(os.environ.get("FAULTS_SETTINGS", "{}")))
    app.worker_main(sys.argv[1:])


if __name__ == "__main__":
    main()
