"""The users of the load generator as sync operations for this server: NDJSON, one operation a line.

    python -m bench.users 100000 > users.ndjson

Plan home-50, then for each number one subscriber s000001 and one service u000001 with password p000001.
"""

import argparse
import json
import sys
from collections.abc import Iterator

LINES_PER_CHUNK = 10_000

PLAN = {
    "op": "put",
    "kind": "plan",
    "id": "home-50",
    "value": {
        "revision": 1,
        "name": "Home 50",
        "kind": "internet",
        "rate": {"down_bps": 50_000_000, "up_bps": 10_000_000},
        "session_timeout": 86_400,
        "interim_interval": 300,
    },
}

# Written by hand: json.dumps takes five times as long for a million users.
SUBSCRIBER = '{{"op":"put","kind":"subscriber","id":"s{0:06d}","value":{{"revision":1,"name":"Subscriber {0}"}}}}\n'
SERVICE = (
    '{{"op":"put","kind":"service","id":"u{0:06d}","value":{{"revision":1,"subscriber_id":"s{0:06d}",'
    '"plan_id":"home-50","state":"active","credentials":[{{"type":"password","username":"u{0:06d}",'
    '"cleartext":"p{0:06d}"}}]}}}}\n'
)


def operations(users: int) -> Iterator[str]:
    """NDJSON in chunks of up to LINES_PER_CHUNK lines, every line whole; references come after what they name."""
    yield json.dumps(PLAN) + "\n"
    entry = (SUBSCRIBER + SERVICE).format
    step = LINES_PER_CHUNK // 2
    for first in range(1, users + 1, step):
        yield "".join(map(entry, range(first, min(first + step, users + 1))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("users", type=int, help="how many, from 1")
    for chunk in operations(parser.parse_args().users):
        sys.stdout.write(chunk)


if __name__ == "__main__":
    main()
