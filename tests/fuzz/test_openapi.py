"""schemathesis over /openapi.json: what the document allows, and what it does not, sent to a real server.

No operation is left out: what runs, runs in the sandbox of the deployment. Only an operation without any params has
nothing that could be wrong in them.
"""

from __future__ import annotations

from collections import Counter

import hypothesis
import requests
import schemathesis
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.fuzz.house import Fuzzed
from tests.support.turns import run_turn, start_thread

SHARE = 0.1  # of the cases, on top of them
SECONDS = 60.0
OVERLOADED = {501, 503, 504}


def test_what_the_document_allows_and_what_it_does_not_break_nothing(fuzzed: Fuzzed, seed: str, cases: int) -> None:
    url = fuzzed.deployment.urls[0]
    session = requests.Session()
    session.trust_env = False  # no proxies
    session.headers["Authorization"] = f"Bearer {fuzzed.key}"
    document = session.get(f"{url}/openapi.json", timeout=SECONDS).json()
    del document["security"]  # schemathesis would make keys up, and hear nothing but 401
    operations = [found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations()]
    thread_id = a_thread(fuzzed)
    each = max(2, round(cases * SHARE / len(operations) / 2))
    statuses: Counter[int] = Counter()
    faults: list[str] = []
    untouched: dict[str, str] = {}

    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        for operation in operations:

            @hypothesis.seed(f"{seed}:{mode.value}:{operation.path}")
            @hypothesis.settings(
                max_examples=each,
                deadline=None,
                database=None,
                phases=[hypothesis.Phase.generate],
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            @hypothesis.given(case=operation.as_strategy(mode))
            def send(case: schemathesis.Case) -> None:
                if isinstance(case.body, dict) and "threadId" in case.body and sum(statuses.values()) % 2:
                    case.body["threadId"] = thread_id
                answer = case.call(base_url=url, session=session, timeout=SECONDS)
                statuses[answer.status_code] += 1
                if answer.status_code >= 500 and answer.status_code not in OVERLOADED:
                    faults.append(f"{answer.status_code} {case.as_curl_command()[:2000]}")

            try:
                send()
            except Unsatisfiable:
                untouched[operation.path] = mode.value

    print(f"\n{statuses.total()} requests of schemathesis (seed {seed}): {dict(sorted(statuses.items()))}")
    print(f"nothing to send: {untouched}")
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults[:20])
    assert all(mode == GenerationMode.NEGATIVE.value for mode in untouched.values())
    fuzzed.check()


def a_thread(fuzzed: Fuzzed) -> str:
    client = fuzzed.deployment.connect(token=fuzzed.key)
    thread_id = start_thread(client)
    run_turn(client, thread_id, "[[say fuzz]]")
    client.drop()
    return thread_id
