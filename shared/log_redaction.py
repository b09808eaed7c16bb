"""Log lines without secrets: what a line says is redacted as it is made, so that no handler gets to see more.

It is done where records are made and not by a logging.Filter: a filter belongs to one logger or one handler, and those
of Celery, gunicorn and of Python's last resort come and go.
"""

from __future__ import annotations

import logging
from typing import Any

from shared.redaction import Redaction

OURS = ("api", "shared", "workers")  # names of loggers; of others' lines only those that tell of something wrong


def install(redaction: Redaction) -> None:
    """Redact the lines of this process from now on; once more: by this redaction instead."""
    formatter = logging.Formatter()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = logging.LogRecord(*args, **kwargs)
        if record.levelno < logging.WARNING and record.name.partition(".")[0] not in OURS:
            return record  # Celery's two lines a task, gunicorn's of its start: nothing that comes from outside
        try:
            said = record.getMessage()
        except (TypeError, ValueError, KeyError):  # a handler would print the arguments as they are
            said = f"{record.msg} [what belongs in here does not fit]"
        record.msg, record.args = redaction.text(said), None
        if isinstance(record.exc_info, tuple) and record.exc_info[0] is not None:
            record.exc_text = redaction.text(formatter.formatException(record.exc_info))  # handlers make none then
        return record

    logging.setLogRecordFactory(make)
