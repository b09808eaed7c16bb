"""Which errors of the database are outages: the same transaction may succeed later. All others are errors of the data.

After an outage during COMMIT nobody knows whether the transaction was committed, so what is tried again must find what
it has stored already.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError, TimeoutError

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
CLASSES = ("08", "40", "53", "57")  # of SQLSTATE: connection, rollback, resources, intervention of an operator
READ_ONLY = "25006"  # the SQLSTATE of a server that is a replica, or has become one
STATES = (READ_ONLY, "25P03", "55P03")  # the others: idle in a transaction for too long, no lock in time
SQLITE_CODES = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
)

Result = TypeVar("Result")


class OutcomeUnknown(OperationalError):
    """The connection was lost during COMMIT: the transaction may have been committed."""


def is_outage(error: BaseException) -> bool:
    """Return whether the database was away, or refused to work at that moment."""
    if isinstance(error, TimeoutError):  # no connection of the pool became free
        return True
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in SQLITE_CODES  # without the extended part
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # the server did not say it: the connection is dead, or could not be made
        return error.connection_invalidated or isinstance(error, OperationalError)
    return state in STATES or state[:2] in CLASSES


def outage_reason(error: BaseException) -> str:
    """Return what a log line says of an outage: the database's own error, without the statement."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {str(cause).strip().partition(chr(10))[0]}"


def retry_outages(call: Callable[[], Result], check: Callable[[], object]) -> Result:
    """Call call() again until the database answers.

    call:   finds what an earlier attempt has stored
    check:  called before each further attempt; raises what ends the attempts
    Errors: those of check(), and of call() but for outages
    """
    while True:
        try:
            return call()
        except Exception as error:
            if not is_outage(error):
                raise
            logger.warning("database did not answer, retrying: %s", outage_reason(error))
        time.sleep(RETRY_SECONDS)
        check()
