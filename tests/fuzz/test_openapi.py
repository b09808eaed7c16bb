"""schemathesis sends requests that /openapi.json allows, and requests that it does not, to a real server.

Each operation is called: its commands run in the sandbox of the deployment. Only an operation without params has no
invalid requests.
"""

from __future__ import annotations

from collections import Counter

import hypothesis
import requests
import schemathesis
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.fuzz.backend import Fuzzed
from tests.fuzz.lanes import MCP_METHODS
from tests.support.turns import run_turn, start_thread

SHARE = 0.1  # of the number of cases, in addition to them
SECONDS = 180.0  # on a busy machine
OVERLOADED = {501, 503, 504}
ENDLESS = "/v2/user/events"  # a stream that ends only with its client


def test_server_survives_valid_and_invalid_requests_of_its_document(fuzzed: Fuzzed, seed: str, cases: int) -> None:
    url = fuzzed.deployment.urls[0]
    session = requests.Session()
    session.trust_env = False  # no proxies
    session.headers["Authorization"] = f"Bearer {fuzzed.key}"
    document = session.get(f"{url}/openapi.json", timeout=SECONDS).json()
    del document["security"]  # with it schemathesis invents keys, and each answer is 401
    operations = [found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations()]
    operations = [operation for operation in operations if operation.path != ENDLESS]
    thread_id = make_thread_with_turn(fuzzed)
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
                of_mcp_server = answer.status_code == 502 and MCP_METHODS in case.operation.path
                if answer.status_code >= 500 and answer.status_code not in OVERLOADED and not of_mcp_server:
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


def make_thread_with_turn(fuzzed: Fuzzed) -> str:
    client = fuzzed.deployment.connect(token=fuzzed.key)
    thread_id = start_thread(client)
    run_turn(client, thread_id, "[[say fuzz]]")
    client.drop()
    return thread_id
