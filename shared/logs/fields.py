"""How log lines look: an event and, behind it, the ids that it is about. One format in all processes.

text: 2026-11-29T07:46:26.722Z INFO worker[22587] turn claimed thread_id=… turn_id=…
json: the same as one object per line: time, level, process, pid, logger, event, the fields, exception

A tool runner imports this module, so it needs the standard library only.
"""

from __future__ import annotations

import datetime
import json
import logging

# Ids and names of ours: a field with text of a user or a model is never printed.
FIELDS = (
    *("method", "kind", "tool", "user_id", "thread_id", "turn_id", "claim_no", "item_id", "call_id", "request_id"),
    *("feedback_id", "erasure_id", "subject_id", "key_id", "turns", "worker", "status", "duration_ms"),
    *("input_tokens", "output_tokens"),
)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Return the fields of a record that it has, in the order of FIELDS."""
    known = vars(record)
    return {name: known[name] for name in FIELDS if known.get(name) is not None}


class FieldFormatter(logging.Formatter):
    """Appends the fields of `extra` to the message: "turn claimed turn_id=… claim_no=3"."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        found = _fields(record)
        return super().formatMessage(record) + "".join([f" {name}={value}" for name, value in found.items()])

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the time as RFC 3339 in UTC, to the millisecond."""
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


class _JsonFormatter(FieldFormatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "process": self._process,
            "pid": record.process,
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= _fields(record)
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["exception"] = record.exc_text
        return json.dumps(line, ensure_ascii=False, default=str)


def line_formatter(log_format: str, process: str) -> logging.Formatter:
    """Return the formatter of a process's log. log_format: "text" or "json"; process: web, worker, beat or runner."""
    if log_format == "json":
        return _JsonFormatter(process)
    return FieldFormatter(f"%(asctime)s %(levelname)s {process}[%(process)d] %(message)s")


def format_handlers(logger: logging.Logger, formatter: logging.Formatter) -> None:
    """Let all handlers of a logger use the formatter."""
    for handler in logger.handlers:
        handler.setFormatter(formatter)
