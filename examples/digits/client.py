"""Send predictions through the gateway, and watch what that does to the deployment.

Idea: threads ask the model as fast as it answers; then the scheduler gives its own account of
it: each decision with its reason, and the replicas that there are now.

Run: minisched serve, minisched apply -f examples/digits/compose.yaml --wait, and then
     python examples/digits/client.py http://127.0.0.1:8000 --seconds 10
"""

from __future__ import annotations

import argparse
import json
import threading
import time
import urllib.request
from collections import Counter

from scheduler.client import Client

ZERO = [
    [0, 0, 5, 13, 9, 1, 0, 0],
    [0, 0, 13, 15, 10, 15, 5, 0],
    [0, 3, 15, 2, 0, 11, 8, 0],
    [0, 4, 12, 0, 0, 8, 8, 0],
    [0, 5, 8, 0, 0, 9, 8, 0],
    [0, 4, 11, 0, 1, 12, 7, 0],
    [0, 2, 14, 5, 10, 12, 0, 0],
    [0, 0, 6, 13, 10, 0, 0, 0],
]


def predict(address: str) -> str:
    """Ask for one prediction; return the label."""
    body = json.dumps({"image": ZERO}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/predict", body, headers)
    # A proxy of the environment would be asked for an address of this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as response:
        return str(json.load(response)["label"])


def ask_until(deadline: float, address: str, labels: Counter[str]) -> None:
    """Ask again and again, and count the answers."""
    while time.monotonic() < deadline:
        labels[predict(address)] += 1


def main() -> None:
    """Ask for some seconds, then say what was answered and how the deployment stands."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("address", help="where the gateway answers, as http://127.0.0.1:8000")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=32, help="how many ask at a time")
    chosen = parser.parse_args()

    sched = Client()
    before = sched.events(limit=1)
    labels: Counter[str] = Counter()
    deadline = time.monotonic() + chosen.seconds
    threads = [
        threading.Thread(target=ask_until, args=(deadline, chosen.address, labels))
        for _ in range(chosen.clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    print(f"{sum(labels.values())} answers: {dict(labels)}")
    after = before[-1]["sequence"] if before else 0
    for event in sched.events(deployment="digits", after=after):
        print(f"{event['kind']}: {event['message']}")
    for replica in sched.replicas("digits"):
        print(f"{replica['id']}: {replica['phase']}, {replica['in_flight']} in flight")


if __name__ == "__main__":
    main()
