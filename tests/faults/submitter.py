"""A client in a process of its own: reads requests, answers each with a run's id.

Each line on stdin is a JSON object with `recipe`, `parameters` and what else `submit`
takes; each line on stdout is `{"run": ID}` or `{"error": TEXT}`.
"""

import json
import os
import sys

from zocelery import versions
from zocelery.errors import ZoceleryError


def main() -> None:
    """Submit until stdin ends, as what version `FAULTS_VERSION` says."""
    version = os.environ.get("FAULTS_VERSION", versions.MESSAGE_VERSION)
    versions.MESSAGE_VERSION = int(version)
    # Others take the number from there when they are imported.
    from zocelery.submission import submit

    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"run": submit(request.pop("recipe"), **request).id}
        except ZoceleryError as error:
            answer = {"error": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
