"""Names and scopes of notifications (PROTOCOL section 6)."""

from __future__ import annotations

# User-scope notifications: sent to every connection of the owner, not only to the thread's followers.
USER_SCOPE = frozenset(
    {
        "thread/started",
        "thread/status/changed",
        "thread/name/updated",
        "thread/archived",
        "thread/unarchived",
        "thread/deleted",
        "thread/closed",
        "thread/reverted",
    }
)

AGENT_DELTA = "item/agentMessage/delta"
PLAN_DELTA = "item/plan/delta"
OUTPUT_DELTA = "item/commandExecution/outputDelta"
SUMMARY_PART = "item/reasoning/summaryPartAdded"
SUMMARY_DELTA = "item/reasoning/summaryTextDelta"
REASONING_DELTA = "item/reasoning/textDelta"

# Notifications that add text to an item; consecutive ones of one stream may be joined.
DELTAS = frozenset({AGENT_DELTA, PLAN_DELTA, OUTPUT_DELTA, SUMMARY_DELTA, REASONING_DELTA})
