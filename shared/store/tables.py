"""The tables as SQLAlchemy objects; the migrations in schema/ create them.

Times are Unix milliseconds (`_at_ms`). JSON columns hold the protocol's objects as they are on the wire.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

from shared.store.column_types import Json, Millis, Serial, only_where

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("role", String, nullable=False),  # member | admin
    Column("created_at_ms", Millis, nullable=False),
    Column("disabled_at_ms", Millis),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("user_id", String, nullable=False, index=True),
    Column("name", String, nullable=False),
    Column("sha256", String, nullable=False, unique=True),
    Column("created_at_ms", Millis, nullable=False),
    Column("expires_at_ms", Millis),
    Column("revoked_at_ms", Millis),
    Column("last_used_at_ms", Millis),
)

sessions = Table(
    "sessions",  # of the web console
    metadata,
    Column("id", String, primary_key=True),
    Column("user_id", String, nullable=False, index=True),
    Column("key_id", String),  # of the API key with which the user signed in; NULL: with something else
    Column("sha256", String, nullable=False, unique=True),
    Column("created_at_ms", Millis, nullable=False),
    Column("expires_at_ms", Millis, nullable=False, index=True),
    Column("subject", String, index=True),  # whom the provider (OIDC) knows; NULL: signed in with a key or a token
    Column("provider_session", String, index=True),  # `sid` of the provider's own session
    Column("is_admin", Boolean),  # whether the provider made the user an admin for this session
    Column("id_token", Text),  # encrypted with the session's secret
)

thread_shares = Table(
    "thread_shares",  # links by which others read a thread
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False, index=True),
    Column("thread_id", String, nullable=False, index=True),
    Column("sha256", String, nullable=False, unique=True),
    Column("created_at_ms", Millis, nullable=False),
    Column("expires_at_ms", Millis, nullable=False, index=True),
    Column("revoked_at_ms", Millis),
)

threads = Table(
    "threads",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("session_id", String, nullable=False),
    Column("forked_from_id", String),
    Column("name", Text),
    Column("preview", Text, nullable=False, default=""),
    Column("settings", Json, nullable=False),  # shared.protocol.settings.ThreadSettings
    Column("cwd", Text, nullable=False),  # as in settings; lists filter by it
    Column("model_provider", String, nullable=False),
    Column("source", String, nullable=False),
    Column("thread_source", String),
    Column("originator", String),
    Column("git_info", Json),
    Column("ephemeral", Boolean, nullable=False, default=False),
    Column("materialized", Boolean, nullable=False, default=False),  # by the first turn/start
    Column("archived_at_ms", Millis),
    Column("created_at_ms", Millis, nullable=False),
    Column("updated_at_ms", Millis, nullable=False),
    Column("recency_at_ms", Millis, nullable=False),
    Column("used_at_ms", Millis, nullable=False),  # "loaded" is used within 30 minutes, or active
    Column("token_usage", Json),
    Column("claim_no", BigInteger, nullable=False, default=0),
    Column("session_due_at_ms", Millis),  # when its session file is to be written; NULL: it is up to date
    Column("reverted_turns", Json),  # ids of removed turns that the session file may still have; NULL: none
    Column("goal", Json),  # shared.protocol.thread.StoredGoal
    Column("history_mode", String),  # legacy | paginated; NULL: legacy
    Column("stored_bytes", BigInteger, nullable=False, default=0),  # of its items, as of the end of its last turn
)
Index("threads_session_due", threads.c.session_due_at_ms, **only_where("session_due_at_ms IS NOT NULL"))
for name, column in (("created", "created_at_ms"), ("updated", "updated_at_ms"), ("recency", "recency_at_ms")):
    Index(f"threads_by_{name}", threads.c.owner, threads.c[column], threads.c.id)
Index("threads_by_session", threads.c.owner, threads.c.session_id)
Index("threads_unmaterialized", threads.c.used_at_ms, **only_where("NOT materialized OR ephemeral"))

turns = Table(
    "turns",
    metadata,
    Column("id", String, primary_key=True),
    Column("thread_id", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("phase", String, nullable=False),  # queued | running | parked | done
    Column("status", String, nullable=False),  # inProgress | completed | interrupted | failed
    Column("error", Json),  # TurnError
    Column("client_id", String),  # clientUserMessageId of its first input
    Column("options", Json, nullable=False),  # shared.protocol.turn.TurnOptions
    Column("interrupted", Boolean, nullable=False, default=False),  # somebody asked to stop it
    Column("created_at_ms", Millis, nullable=False),
    Column("queued_at_ms", Millis, nullable=False),
    Column("claimed_at_ms", Millis),  # by its present or last worker; NULL: none had it, or one of 0.1.0
    Column("started_at_ms", Millis),
    Column("completed_at_ms", Millis),
    Column("claim_no", BigInteger, nullable=False, default=0),
    Column("claimed_by", String),
    Column("lease_until_ms", Millis),
    Column("lost_attempts", Integer, nullable=False, default=0),  # leases that ran out, see Claim
    Column("published_state", Integer, nullable=False, default=0),  # 1: turn/started is published, 2: turn/completed
    Column("token_usage", Json),  # of the thread as of the turn's last answer; NULL: it had none, or 0.1.0 ran it
    Column("reserved_tokens", BigInteger),  # for the model call that its worker makes now; counts while the turn runs
)
Index("turns_of_thread", turns.c.thread_id, turns.c.id)
for name, columns, where in (
    ("turns_active", [turns.c.thread_id], "phase <> 'done'"),
    ("turns_waiting", [turns.c.owner, turns.c.queued_at_ms, turns.c.id], "phase = 'queued'"),
    ("turns_running", [turns.c.owner, turns.c.lease_until_ms], "phase = 'running'"),
    ("turns_unpublished", [turns.c.completed_at_ms], "phase = 'done' AND published_state < 2"),
    ("turns_by_client_id", [turns.c.thread_id, turns.c.client_id], "client_id IS NOT NULL"),
):
    Index(
        name,
        *columns,
        unique=name in ("turns_active", "turns_by_client_id"),
        **only_where(where),
    )

pending_inputs = Table(
    "pending_inputs",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("turn_id", String, nullable=False),
    Column("input", Json, nullable=False),  # parts of a message, or one typed command
    Column("client_id", String),
    Column("created_at_ms", Millis, nullable=False),
    Column("item_id", String),  # the item that it became; NULL: not read yet
)
Index("pending_inputs_of_turn", pending_inputs.c.turn_id, pending_inputs.c.id)

items = Table(
    "items",
    metadata,
    Column("id", String, primary_key=True),
    Column("thread_id", String, nullable=False),
    Column("turn_id", String, nullable=False),
    Column("position", BigInteger, nullable=False),  # order in the thread
    Column("kind", String, nullable=False),  # see shared.store.items.Item
    Column("item", Json),  # as clients see it, without id and times; NULL: clients do not see it
    Column("model_items", Json, nullable=False),  # Responses-API items, zero or more
    Column("call_id", String),  # the model's id of the tool call
    Column("answered", Boolean, nullable=False, default=True),  # false: a tool call without its output
    Column("started_at_ms", Millis),  # when item/started was made
    Column("begun_at_ms", Millis),  # the tool ledger: a call that has begun is never begun again
    Column("completed_at_ms", Millis),
    Column("published_state", Integer, nullable=False, default=0),  # 1: item/started is published, 2: item/completed
    Column("hooks", Json),  # shared.protocol.hooks.HookNotes; NULL: no hook has decided anything about it
)
Index("items_in_order", items.c.thread_id, items.c.position, unique=True)
Index("items_of_turn", items.c.turn_id, items.c.position)
Index("items_compactions", items.c.thread_id, items.c.position, **only_where("kind = 'contextCompaction'"))

terminals = Table(
    "terminals",  # commands that run on after their turn; a row is deleted when its end is published and reported
    metadata,
    Column("item_id", String, primary_key=True),
    Column("thread_id", String, nullable=False),
    Column("turn_id", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("process_id", BigInteger, nullable=False),  # the number that the model knows the command by
    Column("command", Text, nullable=False),  # as the model wrote it
    Column("cwd", Text, nullable=False),
    Column("worker", String, nullable=False),  # the process that runs it; only that process writes its end
    Column("created_at_ms", Millis, nullable=False),
    Column("lease_until_ms", Millis, nullable=False),
    Column("stopping", Boolean, nullable=False, default=False),  # somebody asked to end it
    Column("ended_at_ms", Millis),
    Column("outcome", Text),  # what a model reads that looks at it after its end
    Column("report", Text),  # of its end, for the thread's model; NULL: none, or the model has read it
)
Index("terminals_of_thread", terminals.c.thread_id, terminals.c.item_id)
Index("terminals_of_owner", terminals.c.owner)

approvals = Table(
    "approvals",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),  # the request id on the wire
    Column("thread_id", String, nullable=False),
    Column("turn_id", String, nullable=False),
    Column("item_id", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("method", String, nullable=False),
    Column("params", Json, nullable=False),
    Column("keys", Json, nullable=False),  # what acceptForSession allows from then on
    Column("state", String, nullable=False),  # pending | answered | dropped
    Column("answer", Json),  # the client's result, or {"error": …}
    Column("created_at_ms", Millis, nullable=False),
    Column("expires_at_ms", Millis, nullable=False),
    Column("answered_at_ms", Millis),
    Column("answered_by", Json),  # {"via", "keyId"}; NULL: it is not known, or nobody has answered
    Column("published_state", Integer, nullable=False, default=0),  # 1: the request is published, 2: its resolution
)
Index("approvals_of_thread", approvals.c.thread_id, approvals.c.state)
Index("approvals_of_item", approvals.c.item_id)
Index("approvals_pending", approvals.c.expires_at_ms, **only_where("state = 'pending'"))
Index("approvals_waiting", approvals.c.owner, approvals.c.id, **only_where("state = 'pending'"))
Index("approvals_answered", approvals.c.owner, approvals.c.answered_at_ms, **only_where("state = 'answered'"))

rules = Table(
    "rules",  # execpolicy amendments: command prefixes that an owner has allowed in all threads
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("owner", String, nullable=False, index=True),
    Column("prefix", Json, nullable=False),  # words
    Column("created_at_ms", Millis, nullable=False),
)

outbox = Table(
    "outbox",  # messages for webhooks and the notify program
    metadata,
    Column("id", String, primary_key=True),  # webhook-id
    Column("target", String, nullable=False),  # URL of a webhook, or "notify"
    Column("event", String, nullable=False),  # shared.config.webhooks.EVENTS, or "notify"
    Column("data", Json, nullable=False),  # ids; never content
    Column("created_at_ms", Millis, nullable=False),  # when it happened
    Column("state", String, nullable=False),  # pending | begun (a notify program) | delivered | dead
    Column("attempts", Integer, nullable=False, default=0),
    Column("due_at_ms", Millis, nullable=False),  # when to try; during an attempt, when the next attempt may begin
    Column("lease_until_ms", Millis),  # during an attempt
    Column("changed_at_ms", Millis, nullable=False),
    Column("error", String),  # of the last attempt
)
Index("outbox_by_state", outbox.c.state, outbox.c.changed_at_ms)
for name, columns, where in (
    ("outbox_due", [outbox.c.target, outbox.c.due_at_ms], "state = 'pending'"),
    ("outbox_leased", [outbox.c.lease_until_ms], "lease_until_ms IS NOT NULL"),
):
    Index(name, *columns, **only_where(where))

user_configs = Table(
    "user_configs",
    metadata,
    Column("owner", String, primary_key=True),
    Column("version", Integer, nullable=False),  # grows with each change
    Column("config", Json, nullable=False),  # keys of config.toml that a user may set
)

mcp_logins = Table(
    "mcp_logins",
    metadata,
    Column("owner", String, primary_key=True),
    Column("server_url", String, primary_key=True),
    Column("login", Text, nullable=False),  # shared.encryption: tokens, and what is needed to renew them
    Column("updated_at_ms", Millis, nullable=False),
)

user_limits = Table(
    "user_limits",  # what operators have set for single users; NULL: the default of [limits]
    metadata,
    Column("owner", String, primary_key=True),
    Column("weight", Integer),  # share of the workers, relative to other users' weights; NULL: 1
    Column("turns_at_once", BigInteger),
    Column("queued_turns", BigInteger),
    Column("requests_per_minute", BigInteger),
    Column("connections", BigInteger),
    Column("threads", BigInteger),
    Column("stored_bytes", BigInteger),
    Column("tokens_per_day", BigInteger),
    Column("tokens_per_month", BigInteger),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("at_ms", Millis, nullable=False),
    Column("owner", String, nullable=False),  # who acted; "operator": a command on the host
    Column("action", String, nullable=False),  # the method, or the operator's command
    Column("thread_id", String),
    Column("subject_id", String),  # turn, request, key …
    Column("detail", String),  # the decision of an approval; never content
    Column("transport", String),  # websocket | http | host
    Column("address", String),  # where the request came from
    Column("key_id", String),  # the API key of the request
)
Index("audit_by_time", audit.c.at_ms)

workspaces = Table(
    "workspaces",  # of the threads whose workspace is made from a source
    metadata,
    Column("thread_id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("source", Json, nullable=False),  # shared.config.workspaces
    Column("state", String, nullable=False),  # pending | placing | ready | failed
    Column("reason", Text),  # why it failed
    Column("maker", String),  # the folder in which a worker makes it; NULL: no worker does
    Column("alive_at_ms", Millis),  # the maker's last heartbeat
    Column("start_tree", String),  # git's id of all files as they were at the start
    Column("base", String),  # the commit that was checked out then, if it is a repository
    Column("created_at_ms", Millis, nullable=False),
)

archives = Table(
    "archives",  # uploads from which no workspace was made yet
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("complete", Boolean, nullable=False, default=False),
    Column("created_at_ms", Millis, nullable=False),
)

archive_chunks = Table(
    "archive_chunks",
    metadata,
    Column("archive_id", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("thread_id", String),
    Column("classification", String, nullable=False),
    Column("reason", Text),  # redacted, as the tags are
    Column("tags", Json, nullable=False),
    Column("include_logs", Boolean, nullable=False),
    Column("created_at_ms", Millis, nullable=False),
    Column("status", String, nullable=False),  # received | processing | delivered | failed
    Column("error", String),  # of the last attempt
    Column("same_key", String, nullable=False),  # digest of owner, thread, classification and reason
    Column("first_key", String, unique=True),  # same_key, set for the first of the reports with that key only
    Column("duplicate_of", String),
    Column("attempts", Integer, nullable=False),
    Column("claim_no", BigInteger, nullable=False),
    Column("due_at_ms", Millis),  # when a worker may claim it; during a claim, the end of its lease; NULL: done
    Column("changed_at_ms", Millis, nullable=False),
)
Index("feedback_by_owner", feedback.c.owner, feedback.c.id)
Index("feedback_due", feedback.c.due_at_ms, feedback.c.id, **only_where("due_at_ms IS NOT NULL"))

feedback_contents = Table(
    "feedback_contents",  # the sink "database": what was collected for a report, redacted
    metadata,
    Column("id", String, primary_key=True),  # of the report
    Column("content", Text, nullable=False),  # JSON
)

workers = Table(
    "workers",  # worker processes; each reports every few seconds, and its row goes when it stops
    metadata,
    Column("name", String, primary_key=True),
    Column("host", String, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("version", String, nullable=False),
    Column("queues", Json, nullable=False),  # names of the Celery queues that it takes from
    Column("slots", BigInteger, nullable=False),  # how many tasks it runs at once
    Column("draining", Boolean, nullable=False),  # it takes no more turns
    Column("problem", Text),  # why it cannot run commands
    Column("started_at_ms", Millis, nullable=False),
    Column("seen_at_ms", Millis, nullable=False),  # of its last report, by the database's clock
)

erasures = Table(
    "erasures",  # removals of threads and users, and their receipts; ids and counts only
    metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),  # thread | user
    Column("subject_id", String, nullable=False),  # of the thread or user
    Column("owner", String, nullable=False),
    Column("cause", String, nullable=False),  # shared.store.erasures.CAUSES
    Column("requested_at_ms", Millis, nullable=False),
    Column("due_at_ms", Millis, nullable=False),  # when a worker may remove what is left, or tries again
    Column("done_at_ms", Millis),
    Column("receipt", Json, nullable=False),  # {name of a table or storage: how many entries were removed}
)
Index("erasures_of_owner", erasures.c.owner, erasures.c.id)
Index("erasures_due", erasures.c.due_at_ms, **only_where("done_at_ms IS NULL"))
