"""Hostile frames and requests for all methods: each is answered, no process breaks, another user is not affected."""

from __future__ import annotations

import time

from api.methods import TABLE
from tests.fuzz.backend import Fuzzed
from tests.fuzz.lanes import HttpLane, Lane, SocketLane, Tally

SOCKETS, HTTPS = 4, 2
OVER_HTTP = 0.25  # of the cases


def test_server_survives_hostile_frames_and_requests(fuzzed: Fuzzed, seed: str, cases: int) -> None:
    tally = Tally()
    url, over_http = fuzzed.deployment.urls[0], round(cases * OVER_HTTP)
    shares = [(SocketLane, SOCKETS, cases - over_http), (HttpLane, HTTPS, over_http)]
    lanes: list[Lane] = [
        kind(kind.__name__, number, seed, url, fuzzed.key, -(-share // count), tally)
        for kind, count, share in shares
        for number in range(count)
    ]
    began_s = time.monotonic()

    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()

    took_s = time.monotonic() - began_s
    print(f"\n{tally.cases} cases in {took_s:.0f} s (seed {seed}); answers: {dict(sorted(tally.answers.items()))}")
    print(f"{len(tally.reached)} methods returned a result; never: {sorted(set(TABLE) - tally.reached)}")
    print(f"the other user: {len(fuzzed.turns_s)} turns, slowest {max(fuzzed.turns_s):.1f} s")
    print(f"growth of the process that grew most: {fuzzed.growth_bytes() / 2**20:.0f} MiB")
    assert not tally.faults, f"{len(tally.faults)} faults\n" + "\n".join(fault[:3000] for fault in tally.faults[:20])
    fuzzed.check()
    assert tally.cases >= cases
