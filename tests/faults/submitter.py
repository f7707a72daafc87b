"""A client in a process of its own: reads requests, answers each with a run's id.

Each line on stdin is a JSON object with `recipe`, `parameters` and what else `submit`
takes; each line on stdout is `{"run": ID}` or `{"error": TEXT}`.
"""

import json
import sys

from zocelery.errors import ZoceleryError
from zocelery.submission import submit


def main() -> None:
    """Submit until stdin ends."""
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
