"""Redaction: replaces secrets, known ones and those of a known shape, before text leaves this deployment.

Three stages run one after another: the exact secrets of this deployment, the operator's patterns, and the shapes of
well-known secrets. Redaction is no boundary against a person who encodes a secret on purpose.

Why no library: the maintained ones find secrets in source code line by line (detect-secrets, gitleaks) or names in
prose with a language model (Presidio); none redacts a text that arrives in pieces. RE2 (google-re2) does the matching:
it is linear in the text for every pattern, including the operator's, and lets other threads run.

How a text in pieces gets the same result as the whole text: a shape is a head of at most WINDOW_BYTES, followed by a
run of characters of any length. The last WINDOW_BYTES of the input are kept back (with small pieces up to twice as
much), so that a head is matched only when all of its possible bytes are there; a run is dropped as it arrives. A match
of an operator's pattern that is longer than WINDOW_BYTES is found in a whole text and may be missed in pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import re2

from shared.errors import ConfigError

REDACTED = "[REDACTED]"
WINDOW_BYTES = 4096  # the longest head below is a URL's user and password: some 650 characters of up to 4 bytes
RUN_KEPT_BYTES = 64  # the longest end of a run: the last line of a private key
CONTEXT_BYTES = 4  # one character before the position where a search begins, for \b and ^
MIN_SECRET_CHARACTERS = 6  # a shorter known secret would match in ordinary words
MAX_DEPTH = 100  # of JSON that is walked; deeper values are redacted as JSON text

_REPLACEMENT = REDACTED.encode()


def _compile(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 64 << 20
    return re2.compile(pattern, options)


class _Shape:
    """The shape of one kind of secret.

    kept:   a prefix that is not redacted, such as the name of the variable that the secret is assigned to
    head:   the beginning of the secret
    run:    the rest of the secret, of any length; stop: an early end of it
    after:  text that is written after the replacement
    """

    def __init__(self, kept: str, head: str, run: Any = None, stop: Any = None, after: bytes = b"") -> None:
        self.source = f"(?:{kept})(?:{head})"
        self.kept = _compile(f"({kept})(?:{head})") if kept else None
        self.whole = _compile(self.source)
        self.run, self.stop, self.after = run, stop, after


_TOKEN = _compile(r"[A-Za-z0-9_\-+/=.~%]*")
_DOMAIN = _compile(r"[A-Za-z0-9.\-]*")
_LINE = _compile(r"[^\r\n\"']*")
_KEY_BODY = _compile(r"[A-Za-z0-9+/=\s\\:,\"'-]*")
_KEY_END = _compile(r"-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
_IN_DOUBLE = _compile(r'(?:[^"\\\r\n]|\\[^\r\n])*')
_IN_SINGLE = _compile(r"(?:[^'\\\r\n]|\\[^\r\n])*")
_IN_ESCAPED = _compile(r"[^\"'\\\r\n]*")
_UNQUOTED = _compile(r"[^\s\"'\\&]*")
_WORD = _compile(r"[^\s\"'\\]*")

_NAMES = (
    r"(?:pass[_-]?(?:word|wd|phrase)|pwd|secret|token|credentials?|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|signing[_-]?key|encryption[_-]?key|client[_-]?secret)(?:[_-](?:key|value|id|b64|base64))?"
)
# The name may be quoted, in JSON inside JSON with backslashes too.
_ASSIGNED = rf"(?i:{_NAMES})(?:\\{{0,8}}[\"'])?[ \t]{{0,8}}(?::=|=>|==|=|:)[ \t]{{0,8}}"
_SENSITIVE_NAME = _compile(rf"(?i:{_NAMES}|authorization|cookie)$")

_SHAPES = (
    _Shape("", r"[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9\-]{1,63}(?:\.[A-Za-z0-9\-]{1,63}){0,4}\.[A-Za-z]{2}", _DOMAIN),
    _Shape(f'{_ASSIGNED}"', r'[^"\\\r\n]|\\[^\r\n]', _IN_DOUBLE),
    _Shape(f"{_ASSIGNED}'", r"[^'\\\r\n]|\\[^\r\n]", _IN_SINGLE),
    _Shape(rf"{_ASSIGNED}\\{{1,8}}[\"']", r"[^\"'\\\r\n]", _IN_ESCAPED),
    _Shape(_ASSIGNED, r"[^\s\"'\\&]", _UNQUOTED),
    _Shape(
        r"(?i:authorization)(?:\\{0,8}[\"'])?[ \t]{0,8}[:=][ \t]{0,8}(?:\\{0,8}[\"'])?(?:[A-Za-z]{1,16}[ \t]{1,8})?",
        r"[^\s\"'\\]",
        _WORD,
    ),
    _Shape(r"\b(?i:bearer)[ \t]{1,8}", r"[A-Za-z0-9_\-+/=.~%]{16}", _TOKEN),
    _Shape(r"(?i:(?:set-)?cookie):[ \t]{0,8}", r"[^\s\"']", _LINE),
    _Shape(r"://[^\s/:@\"'?#]{0,128}:", r"[^\s/\"'?#]{1,512}@", after=b"@"),
    _Shape("", r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----", _KEY_BODY, _KEY_END),
    _Shape(
        r"\b|_",
        r"th_[A-Za-z0-9_\-]{20}|sk-[A-Za-z0-9_\-]{16}|[srp]k_(?:live|test)_[A-Za-z0-9]{10}|hf_[A-Za-z0-9]{20}"
        r"|npm_[A-Za-z0-9]{30}|gsk_[A-Za-z0-9]{20}|r8_[A-Za-z0-9]{20}|xai-[A-Za-z0-9]{20}|pypi-[A-Za-z0-9_\-]{30}"
        r"|SG\.[A-Za-z0-9_\-]{16}|eyJ[A-Za-z0-9_\-]{10}",
        _TOKEN,
    ),
    _Shape(
        "",
        r"whsec_[A-Za-z0-9+/=]{16}|gh[pousr]_[A-Za-z0-9]{20}|github_pat_[A-Za-z0-9_]{20}|glpat-[A-Za-z0-9_\-]{16}"
        r"|(?:AKIA|ASIA|ABIA|ACCA|AIDA|AROA)[A-Z0-9]{16}|xox[abceoprs]-[A-Za-z0-9\-]{10}|xapp-[0-9]-[A-Za-z0-9\-]{10}"
        r"|hooks\.slack\.com/services/[A-Za-z0-9/]{8}|AIza[A-Za-z0-9_\-]{30}|ya29\.[A-Za-z0-9_\-]{20}"
        r"|GOCSPX-[A-Za-z0-9_\-]{20}|AGE-SECRET-KEY-1[A-Z0-9]{20}",
        _TOKEN,
    ),
)


class _Stage:
    """One stage of redaction: a pattern that finds any of its shapes, the leftmost first."""

    def __init__(self, shapes: Sequence[_Shape], window_bytes: int) -> None:
        self.shapes = shapes
        self.window_bytes = window_bytes
        # Without groups RE2 uses its fast engine alone; which shape matched is determined afterwards.
        self.pattern = _compile("|".join(shape.source for shape in shapes))


_KNOWN_SHAPES = _Stage(_SHAPES, WINDOW_BYTES)


class _Pass:
    """A stage applied to one text that arrives in pieces."""

    def __init__(self, stage: _Stage) -> None:
        self._stage = stage
        self._buffer = b""
        self._at = 0  # the bytes of the buffer before this index have been returned and serve as context only
        self._in_run: _Shape | None = None

    def feed(self, piece: bytes, *, last: bool = False) -> bytes:
        """Return the part of the result that later pieces cannot change."""
        buffer = self._buffer + piece if self._buffer else piece
        if not last and len(buffer) - self._at < 2 * self._stage.window_bytes:
            self._buffer = buffer  # matched in portions, so that many small pieces cost no more than a large one
            return b""
        out: list[bytes] = []
        at, search_from = self._at, self._at
        certain = len(buffer) if last else max(at, len(buffer) - self._stage.window_bytes)
        while True:
            if self._in_run is not None:
                at, over = _skip_run(self._in_run, buffer, at, last)
                if not over:
                    break
                out.append(self._in_run.after)
                self._in_run = None
                search_from = at
            match = self._stage.pattern.search(buffer, search_from) if search_from < certain else None
            if match is None or match.start() >= certain:
                end = max(at, _character_start(buffer, certain))
                out.append(buffer[at:end])
                at = end
                break
            if match.end() == match.start():  # an operator's pattern that matches the empty string
                search_from = _character_start(buffer, match.start(), forward=True)
                continue
            start, at_before, at = match.start(), at, match.end()
            shape = next(shape for shape in self._stage.shapes if shape.whole.match(buffer, start, at) is not None)
            kept = start if shape.kept is None else shape.kept.match(buffer, start, at).end(1)
            out += [buffer[at_before:kept], _REPLACEMENT]
            self._in_run = shape
        kept_from = _character_start(buffer, max(0, at - CONTEXT_BYTES))
        self._buffer, self._at = buffer[kept_from:], at - kept_from
        return b"".join(out)


def _skip_run(shape: _Shape, buffer: bytes, at: int, last: bool) -> tuple[int, bool]:
    """Return (the index that the run has reached, whether the run is over)."""
    if shape.run is None:
        return at, True
    end = shape.run.match(buffer, at).end()
    if shape.stop is not None:
        stop = shape.stop.search(buffer, at, end)
        if stop is not None:
            return stop.end(), True
    if last or len(buffer) - end >= RUN_KEPT_BYTES:
        return end, True
    if shape.stop is not None:
        return max(at, end - RUN_KEPT_BYTES), False
    return end, False


def _character_start(text: bytes, at: int, *, forward: bool = False) -> int:
    """Return the start of the UTF-8 character at an index; forward: the start of the next one."""
    if forward:
        at += 1
    while 0 < at < len(text) and text[at] & 0xC0 == 0x80:
        at += 1 if forward else -1
    return at


class Redaction:
    """Replaces secrets in texts and JSON.

    patterns: of the operator, in RE2's syntax
    secrets:  exact values that this deployment knows
    Errors:   ConfigError (a pattern that is not a regular expression)
    """

    def __init__(self, patterns: Iterable[str] = (), secrets: Iterable[str] = ()) -> None:
        self._stages: list[_Stage] = []
        known = sorted({s for s in secrets if len(s) >= MIN_SECRET_CHARACTERS}, key=lambda s: (-len(s), s))
        if known:
            literals = "|".join(re2.escape(secret) for secret in known)
            self._stages.append(_Stage([_Shape("", literals)], max(len(s.encode()) for s in known)))
        for pattern in patterns:
            try:
                self._stages.append(_Stage([_Shape("", pattern)], WINDOW_BYTES))
            except re2.error as error:
                cause = error.args[0].decode() if isinstance(error.args[0], bytes) else error
                raise ConfigError(f"redact_patterns: {pattern!r} is not a regular expression of RE2: {cause}") from None
        self._stages.append(_KNOWN_SHAPES)

    def text(self, text: str) -> str:
        """Return a whole text, redacted."""
        stream = self.stream()
        return stream.feed(text) + stream.close()

    def stream(self) -> RedactionStream:
        """Return the redaction of one text that arrives in pieces."""
        return RedactionStream([_Pass(stage) for stage in self._stages])

    def value(self, value: Any) -> Any:
        """Return a JSON value with each string redacted, and each plain value under a name such as `password`."""
        return self._value(value, MAX_DEPTH)

    def _value(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if not isinstance(value, dict | list):
            return value
        if depth == 0:
            return self.text(orjson.dumps(value).decode())
        if isinstance(value, list):
            return [self._value(entry, depth - 1) for entry in value]
        return {self.text(key): self._named(key, entry, depth - 1) for key, entry in value.items()}

    def _named(self, name: str, value: Any, depth: int) -> Any:
        if type(value) in (str, int, float) and value != "" and _SENSITIVE_NAME.search(name) is not None:
            return REDACTED
        return self._value(value, depth)


class RedactionStream:
    """The redaction of one text in pieces: all results joined equal `Redaction.text` of all pieces joined."""

    def __init__(self, passes: Sequence[_Pass]) -> None:
        self._passes = passes

    def feed(self, piece: str) -> str:
        """Return the part of the result that later pieces cannot change.

        A stage keeps back at most 2 × WINDOW_BYTES, or 2 × the longest known secret.
        """
        return self._through(piece, last=False)

    def close(self) -> str:
        """Return the rest of the result."""
        return self._through("", last=True)

    def _through(self, piece: str, *, last: bool) -> str:
        part = piece.encode(errors="replace")
        for one in self._passes:
            part = one.feed(part, last=last)
        return part.decode()
