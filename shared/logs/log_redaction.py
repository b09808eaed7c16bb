"""Log lines without secrets: a line is redacted when its record is made, before any handler sees it.

A logging.Filter would not do: it belongs to one logger or one handler, and Celery, gunicorn and Python's handler of
last resort add and remove theirs.
"""

from __future__ import annotations

import logging
from typing import Any

from shared.redaction import Redaction

OURS = ("api", "shared", "workers")  # loggers of this project; lines of others are redacted from level WARNING on


def install(redaction: Redaction) -> None:
    """Redact the log lines of this process from now on. A second call replaces the first redaction."""
    formatter = logging.Formatter()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = logging.LogRecord(*args, **kwargs)
        if record.levelno < logging.WARNING and record.name.partition(".")[0] not in OURS:
            return record  # Celery's two lines per task, gunicorn's at its start: they contain no input
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # a handler would print the arguments unredacted
            message = f"{record.msg} [arguments do not match]"
        record.msg, record.args = redaction.text(message), None
        if isinstance(record.exc_info, tuple) and record.exc_info[0] is not None:
            record.exc_text = redaction.text(formatter.formatException(record.exc_info))  # handlers use this text
        return record

    logging.setLogRecordFactory(make)
