"""The begin and the end of a review turn (PROTOCOL 5.11), as items of the log."""

from __future__ import annotations

from shared.protocol.model_items import text_message
from workers.agent import prompt
from workers.agent.running_turn import RunningTurn


def enter_review(turn: RunningTurn) -> None:
    """Add, once, the item that begins the review and the model's instructions for it."""
    if not any(row.kind == "enteredReviewMode" for row in turn.transcript.turn_rows()):
        shown = {"review": turn.transcript.claim.turn.options["review"]}
        turn.transcript.add_item("enteredReviewMode", shown, [text_message("developer", prompt.REVIEW_INSTRUCTIONS)])


def exit_review(turn: RunningTurn, review: str) -> None:
    """Add the item that ends the review, if one was entered. review: what the reviewer found."""
    kinds = [row.kind for row in turn.transcript.turn_rows()]
    if "enteredReviewMode" in kinds and "exitedReviewMode" not in kinds:
        turn.transcript.add_item("exitedReviewMode", {"review": review}, [])
