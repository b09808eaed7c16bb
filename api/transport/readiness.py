"""Whether this process can serve and the deployment does its work: an answer in a bounded time, whatever hangs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

import redis
import sqlalchemy.exc

from api.requests.services import Services
from shared.errors import Unavailable
from shared.health import Check, check_deployment, check_disk

FindOut = Callable[[Callable[[str], None]], Sequence[Check]]  # gets a function to say what it waits for

logger = logging.getLogger(__name__)

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

    def _ping(self, asks: Callable[[str], None]) -> Sequence[Check]:
        asks("Redis")
        self._services.redis.ping()
        asks("the database")
        self._services.store.users.exist()
        return ()

    def _check_all(self, _: Callable[[str], None]) -> Sequence[Check]:
        config = self._services.config
        checks = check_deployment(self._services.store, self._services.redis, turns_at_once=config.limits.turns_at_once)
        return [*checks, check_disk(config.home)]

    def _ask(self, name: str, find_out: FindOut) -> Sequence[Check]:
        """Return what is found out, within ANSWER_SECONDS. Errors: Unavailable."""
        with self._lock:
            question = self._asked.get(name)
            if question is None or question.answered.is_set():
                question = self._asked[name] = _Question(find_out)
                threading.Thread(target=question.run, name=name, daemon=True).start()
        if not question.answered.wait(ANSWER_SECONDS):
            raise Unavailable(f"not ready: {question.asked or 'the database or Redis'} does not answer in time")
        if question.error is not None:
            raise Unavailable(f"not ready: {_cause(question.error)}")
        return question.answer


class _Question:
    """asked: what is waited for now."""

    def __init__(self, find_out: FindOut) -> None:
        self.asked = ""
        self.answered = threading.Event()
        self.answer: Sequence[Check] = ()
        self.error: Exception | None = None
        self._find_out = find_out

    def run(self) -> None:
        try:
            self.answer = self._find_out(self._ask)
        except (redis.RedisError, sqlalchemy.exc.SQLAlchemyError, OSError) as error:
            self.error = error
        except Exception as error:
            logger.exception("readiness not found out")
            self.error = error
        finally:
            self.answered.set()

    def _ask(self, what: str) -> None:
        self.asked = what


def _cause(error: Exception) -> str:
    if isinstance(error, redis.RedisError):
        return f"Redis does not answer: {type(error).__name__}"
    if isinstance(error, sqlalchemy.exc.ProgrammingError):
        return "the schema of the database is out of date: run `threadhouse migrate`"
    return f"the database does not answer as expected: {type(error).__name__}"
