"""A container's health check: exit 0 when the ops listener answers within two seconds, 1 when it does not.

Any answer counts, a refusal too: beyond loopback `/livez` asks for a token, and that it is asked for shows just as well
that the loop turns. So this needs no secret. The port is `BFF_OPS_BIND`'s.
"""

import http.client
import os
import sys

SECONDS = 2.0


def main() -> int:
    """Give the exit status."""
    port = os.environ.get("BFF_OPS_BIND", "").rpartition(":")[2] or "9090"
    try:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=SECONDS)
        connection.request("GET", "/livez")
        return 0 if connection.getresponse().status in {200, 401} else 1
    except (OSError, ValueError, http.client.HTTPException):
        return 1


if __name__ == "__main__":
    sys.exit(main())
