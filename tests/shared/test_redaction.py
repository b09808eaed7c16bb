"""Redaction: secrets are replaced, other text stays, and a text in pieces gives the same result as the whole text."""

import itertools
import random
import time

import pytest

from shared.errors import ConfigError
from shared.redaction import MAX_DEPTH, REDACTED, WINDOW_BYTES, Redaction

KEY_BLOCK = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEA7bq+/=\n" * 400 + "-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "abcDEF012_-" * 900

SECRETS = [
    ("th_" + "aB3_-xyz" * 5, "[R]"),
    ("sk-proj-abcdefghijklmnopqrstuvwx", "[R]"),
    ("(sk-ant-api03-abcdefghij)", "([R])"),
    ("export X=ghp_abcdefghij0123456789abcdef", "export X=[R]"),
    ("MY_github_pat_abcdefghij0123456789_abc", "MY_[R]"),
    ("AKIAIOSFODNN7EXAMPLE", "[R]"),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws_secret_access_key = [R]"),
    ("xoxb-123456789012-abcdef", "[R]"),
    ("https://hooks.slack.com/services/T000/B000/XXXX", "https://[R]"),
    ("AIzaSyA-abcdefghijklmnopqrstuvwxyz12345", "[R]"),
    ("glpat-abcdefghij0123456789", "[R]"),
    ("sk_live_abcdefghij0123", "[R]"),
    ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "[R]"),
    (f"token {JWT}!", "token [R]!"),
    ("Authorization: Bearer abc", "Authorization: Bearer [R]"),
    ('"authorization": "Basic dXNlcjpwYXNz"', '"authorization": "Basic [R]"'),
    ("a bearer abcdefghijklmnop", "a bearer [R]"),
    ("Cookie: a=b; session=c\nnext", "Cookie: [R]\nnext"),
    (f"before\n{KEY_BLOCK}\nafter", "before\n[R]\nafter"),
    ("password=hunter2 x", "password=[R] x"),
    ("DB_PASSWORD=a,b;c x", "DB_PASSWORD=[R] x"),
    ("password: it is", "password: [R] is"),
    ('{"api_key": "a b \\"c", "n": 1}', '{"api_key": "[R]", "n": 1}'),
    ("{'client_secret': 'a b'}", "{'client_secret': '[R]'}"),
    ('{\\"password\\": \\"a b\\", \\"n\\": 1}', '{\\"password\\": \\"[R]\\", \\"n\\": 1}'),
    ("?token=abc&x=1", "?token=[R]&x=1"),
    ('password="' + "é\\\\" * 3000 + '" x', 'password="[R]" x'),
    ("postgres://user:p@ss:w0rd@host/db", "postgres://user:[R]@host/db"),
    ("redis://:secretly@host", "redis://:[R]@host"),
    ("write to Jane.Doe+x@mail.example.co.uk.", "write to [R]"),
]
HARMLESS = [
    "The quick brown fox jumps over the lazy dog, twice: 100 %.",
    "total_tokens: 5, max_tokens=4096, tokenizer=o200k",
    "ssh://git@host/repo, https://host:8080/path?x=1, a task-force, month_of_january_and_february",
    "Basic understanding of the bearer token",
    "def password(self) -> None: return keyboard == 'x'",
    "01a202ed-4134-7910-9f4a-d9eec5a2ea90 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "",
]


@pytest.mark.parametrize(("text", "redacted"), SECRETS, ids=[text[:30] for text, _ in SECRETS])
def test_a_secret_of_a_known_shape_is_redacted_and_its_surroundings_stay(text, redacted):
    redaction = Redaction()

    result = redaction.text(text)

    assert result == redacted.replace("[R]", REDACTED)
    assert redaction.text(result) == result


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_stays_unchanged(text):
    assert Redaction().text(text) == text


def test_known_secrets_are_redacted_first_and_entirely():
    redaction = Redaction(secrets=["abc&def ghi", "abc&def ghi jkl", "short", ""])

    result = redaction.text("password=abc&def ghi jkl, again abc&def ghi; short")

    assert result == f"password={REDACTED} again {REDACTED}; short"


def test_matches_of_the_operators_patterns_are_redacted():
    redaction = Redaction(patterns=[r"CASE-\d+", "(?i)project (x|ÿ)", "^first", "z*"])

    result = redaction.text("first CASE-12 and PROJECT ÿ, first of zz all é")

    assert result == f"{REDACTED} {REDACTED} and {REDACTED}, first of {REDACTED} all é"


def test_an_invalid_pattern_is_named_in_the_error():
    with pytest.raises(ConfigError, match=r"redact_patterns: '\(a' is not a regular expression of RE2: missing \)"):
        Redaction(patterns=["(a"])


def test_json_is_redacted_in_each_string_and_under_sensitive_names():
    value = {
        "password": "x",
        "Client-Secret": 12,
        "nested": [{"API_KEY": "", "text": "mail a@b.example now", "token": None, "total_tokens": 7}],
        "a@b.example": True,
    }

    assert Redaction().value(value) == {
        "password": REDACTED,
        "Client-Secret": REDACTED,
        "nested": [{"API_KEY": "", "text": f"mail {REDACTED} now", "token": None, "total_tokens": 7}],
        REDACTED: True,
    }


def test_very_deep_json_is_redacted():
    value: object = "password=hunter2"
    for _ in range(MAX_DEPTH * 2):
        value = [value]

    assert "hunter2" not in str(Redaction().value(value))


SECRET = "correct horse battery"
PARTS = [text for text, _ in SECRETS] + HARMLESS + [SECRET, SECRET[:9], "CASE-1234", "é✓😀" * 40, " ", "\n", '"', "\\"]
WHOLE = Redaction(patterns=[r"CASE-\d+"], secrets=[SECRET, "x" * 5000])


def in_pieces(text: str, cuts: list[int]) -> str:
    stream = WHOLE.stream()
    edges = [0, *sorted(cuts), len(text)]
    return "".join(stream.feed(text[a:b]) for a, b in itertools.pairwise(edges)) + stream.close()


@pytest.mark.parametrize("text", [text for text, _ in SECRETS if len(text) < 200] + [SECRET, "CASE-1234"])
def test_a_secret_cut_anywhere_is_redacted_as_in_the_whole_text(text):
    padded = "é. " * WINDOW_BYTES + text + "\n. é" * WINDOW_BYTES
    start = 3 * WINDOW_BYTES
    whole = WHOLE.text(padded)

    assert text not in whole
    for cut in range(start - 1, start + len(text) + 2):
        assert in_pieces(padded, [cut]) == whole
        assert in_pieces(padded, [cut, cut + WINDOW_BYTES - 3]) == whole


@pytest.mark.parametrize("seed", range(30))
def test_a_text_in_random_pieces_is_redacted_as_the_whole_text(seed):
    rng = random.Random(seed)
    text = "".join(rng.choice(PARTS) + rng.choice(["", " ", "\n"]) for _ in range(rng.randint(5, 120)))
    cuts = [rng.randint(0, len(text)) for _ in range(rng.choice([1, 5, 200]))]

    assert in_pieces(text, cuts) == WHOLE.text(text)


def test_a_text_in_single_characters_is_redacted_with_bounded_memory():
    text = f"a {KEY_BLOCK} b password={'x' * 20_000} {JWT} {SECRET}"
    stream = WHOLE.stream()
    buffered = 0
    out = []

    for character in text:
        out.append(stream.feed(character))
        buffered = max(buffered, *(len(one._buffer) for one in stream._passes))

    assert (
        "".join(out) + stream.close() == WHOLE.text(text) == f"a {REDACTED} b password={REDACTED} {REDACTED} {REDACTED}"
    )
    assert buffered <= 2 * 5000 + 64


@pytest.mark.parametrize(
    "unit", ["a", "a@", "a@b.", "sk-", "://a:", 'password="', "\\", "eyJ", "-----BEGIN PRIVATE KEY-----", "token: "]
)
def test_hostile_text_takes_linear_time(unit):
    redaction = Redaction(patterns=["(a+)+$", r"(?:\\|x\\)*z"])
    text = unit * (2_000_000 // len(unit))
    began = time.process_time()

    redaction.text(text)

    assert time.process_time() - began < 15  # 2 to 4 s where each unit is a match, 0.1 s where none is
