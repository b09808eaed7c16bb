"""Claims of several threads at once: one transaction serves those who wait, and each gets its own answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from sqlalchemy.exc import TimeoutError

from tests.support.wait import DEADLINE_SECONDS, until
from workers.control import claimer
from workers.control.claimer import Claimer


class Claims:
    """Gives out numbered claims. Each call waits until it is let through.

    calls:   (names, looks_first)
    failing: names whose claims fail, with the error
    """

    def __init__(self, turns: int) -> None:
        self.turns = list(range(turns))
        self.calls: list[tuple[list[str], bool]] = []
        self.failing: dict[str, Exception] = {}
        self.let_through = threading.Semaphore(0)

    def claim(self, names: Sequence[str], looks_first: bool) -> list[Any]:
        self.calls.append((list(names), looks_first))
        assert self.let_through.acquire(timeout=DEADLINE_SECONDS)
        for name in names:
            if name in self.failing:
                raise self.failing[name]
        given, self.turns = self.turns[: len(names)], self.turns[len(names) :]
        return given


class Askers:
    """Threads that ask one claimer, and the order in which they do."""

    def __init__(self, claims: Claims, threads: ThreadPoolExecutor) -> None:
        self.claimer, self.threads = Claimer(claims.claim), threads

    def ask(self, name: str, *, looks_first: bool = False) -> Future[Any]:
        before = len(self.claimer._asking)
        answer = self.threads.submit(self.claimer.claim, name, looks_first=looks_first)
        until(lambda: len(self.claimer._asking) == before + 1)
        return answer


def test_those_who_wait_are_served_together_in_their_order_and_some_get_nothing() -> None:
    claims = Claims(turns=4)
    with ThreadPoolExecutor(8) as threads:
        askers = Askers(claims, threads)
        answers = [askers.ask(name, looks_first=name in "ab") for name in "abcdefg"]
        claims.let_through.release(3)
        given = [answer.result(DEADLINE_SECONDS) for answer in answers]

    assert claims.calls == [(["a"], True), (["b", "c", "d", "e"], False), (["f", "g"], False)]
    assert len(claims.calls[1][0]) == claimer.MOST_AT_ONCE
    assert [answer.claim for answer in given] == [0, 1, 2, 3, None, None, None]
    assert given[0].requested_at < given[1].requested_at == given[4].requested_at < given[5].requested_at


def test_an_error_reaches_those_of_its_transaction_alone() -> None:
    claims = Claims(turns=4)
    claims.failing = {"b": ValueError("a defect")}
    with ThreadPoolExecutor(8) as threads:
        askers = Askers(claims, threads)
        answers = [askers.ask(name) for name in "abcdef"]
        claims.let_through.release(3)
        given = [answer.result(DEADLINE_SECONDS) for answer in answers]

    assert [answer.claim for answer in given] == [0, None, None, None, None, 1]
    assert [type(answer.error) for answer in given] == [type(None), *4 * [ValueError], type(None)]


def test_an_outage_is_not_waited_for_again_by_those_who_asked_meanwhile() -> None:
    claims = Claims(turns=4)
    claims.failing = {"a": TimeoutError("no connection came back", code="3o7r")}
    with ThreadPoolExecutor(8) as threads:
        askers = Askers(claims, threads)
        answers = [askers.ask(name) for name in "abcdef"]
        claims.let_through.release(2)
        given = [answer.result(DEADLINE_SECONDS) for answer in answers]
        later = askers.claimer.claim("later", looks_first=False)

    assert [type(answer.error) for answer in given] == [TimeoutError, *5 * [type(None)]]
    assert {answer.claim for answer in given} == {None}
    assert [names for names, _ in claims.calls] == [["a"], ["later"]]
    assert later.claim == 0
