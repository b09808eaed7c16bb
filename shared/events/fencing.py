"""Fencing tokens of event logs: they keep a replaced writer from publishing events of a turn.

A turn's events are written by the worker that holds its claim. When no worker holds the turn any more, the API or the
sweep publishes what is missing. Its events must win over whatever the last worker may still send, and lose against the
worker of the next claim; so a token is the number of a claim and the rank of the writer within that claim.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class WriterRank(IntEnum):
    """Who writes within one claim, in the order in which they replace each other."""

    WORKER = 0  # the worker that holds the claim
    PUBLISHER_AFTER_CLAIM = 1  # the API or the sweep, once no worker holds the turn


class FencingToken(NamedTuple):
    """The right to write a turn's events; a log refuses every token that is smaller than the largest it has seen.

    Tokens are compared by claim first and by rank second.
    """

    claim_no: int
    writer_rank: WriterRank

    @classmethod
    def of_worker(cls, claim_no: int) -> FencingToken:
        """Return the token of the worker that made the claim."""
        return cls(claim_no, WriterRank.WORKER)

    @classmethod
    def after_claim(cls, claim_no: int) -> FencingToken:
        """Return the token of a process that publishes for a turn whose last claim is over."""
        return cls(claim_no, WriterRank.PUBLISHER_AFTER_CLAIM)

    def encode(self) -> str:
        """Return the token as `log.lua` reads it: "CLAIM:RANK"."""
        return f"{self.claim_no}:{self.writer_rank.value}"
