"""Whether this process can serve and the deployment does its work, told in a bounded time whatever does not answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import redis
import sqlalchemy.exc

from api.requests.services import Services
from shared.errors import Unavailable
from shared.health import Check, check_deployment, check_disk

ANSWER_SECONDS = 1.5  # for which the database and Redis are waited for, together


class Readiness:
    """Answers `/readyz` and `/statusz` for one API process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._asked: dict[str, _Question] = {}  # by what is asked; one that has no answer yet is not asked again
        self._lock = threading.Lock()

    def check_ready(self) -> None:
        """Check that the database and Redis answer. Errors: Unavailable."""
        self._ask("ready", self._ping)

    def status(self) -> Sequence[Check]:
        """Return what there is to say of the whole deployment. Errors: Unavailable."""
        return self._ask("status", self._check_all)

    def _ping(self) -> Sequence[Check]:
        self._services.redis.ping()
        self._services.store.users.exist()
        return ()

    def _check_all(self) -> Sequence[Check]:
        config = self._services.config
        checks = check_deployment(self._services.store, self._services.redis, turns_at_once=config.limits.turns_at_once)
        return [*checks, check_disk(config.home)]

    def _ask(self, name: str, find_out: Callable[[], Sequence[Check]]) -> Sequence[Check]:
        """Return what is found out, within ANSWER_SECONDS. Errors: Unavailable."""
        with self._lock:
            question = self._asked.get(name)
            if question is None or question.answered.is_set():
                question = self._asked[name] = _Question(find_out)
                threading.Thread(target=question.run, name=name, daemon=True).start()
        if not question.answered.wait(ANSWER_SECONDS):
            raise Unavailable("not ready: the database or Redis does not answer in time")
        if question.error is not None:
            raise Unavailable(f"not ready: the database or Redis does not answer: {type(question.error).__name__}")
        return question.answer


class _Question:
    def __init__(self, find_out: Callable[[], Sequence[Check]]) -> None:
        self.answered = threading.Event()
        self.answer: Sequence[Check] = ()
        self.error: Exception | None = None
        self._find_out = find_out

    def run(self) -> None:
        try:
            self.answer = self._find_out()
        except (redis.RedisError, sqlalchemy.exc.SQLAlchemyError, OSError) as error:
            self.error = error
        finally:
            self.answered.set()
