"""`[auto_review]`: the model that judges what a person would be asked, in threads that choose it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from shared.config.setting import Setting


@dataclass(frozen=True)
class AutoReview:
    """The reviewer of threads with `approvalsReviewer` `auto_review` (docs/APPROVALS.md)."""

    enabled: Annotated[
        bool, Setting("Whether a model reviews; otherwise what such a thread would ask for is declined.")
    ] = True
    model: Annotated[str | None, Setting("The model that reviews.", default="that of the thread")] = None
    model_provider: Annotated[str | None, Setting("The provider of that model.", default="that of the thread")] = None
    timeout_seconds: Annotated[
        float, Setting("How long one review may take; then the action is declined.", unit="s")
    ] = 90.0
    tokens_per_turn: Annotated[
        int, Setting("What the reviews of one turn may take; what comes after is declined.", unit="tokens", minimum=1)
    ] = 200_000
