"""config.toml and the environment, read once, as frozen dataclasses.

`load` is the only reader of either; every setting is one line below, with its type, default, unit and what it does.
Codex's keys keep Codex's names and places; `[server]` and `[limits]` are ours.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from shared.config_table import ConfigTable
from shared.errors import ConfigError
from shared.feedback import FeedbackSettings, read_feedback
from shared.otel_config import Otel, read_otel
from shared.webhooks import Webhook, listeners, read_webhooks
from shared.workspaces import Workspaces, read_workspaces

APPROVAL_POLICIES = ("untrusted", "on-request", "never")
FULL_ACCESS = "danger-full-access"
SANDBOX_MODES = ("read-only", "workspace-write", FULL_ACCESS)
REASONING_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra")
REASONING_SUMMARIES = ("auto", "concise", "detailed", "none")
WIRE_APIS = ("responses", "chat")
LOG_LEVELS = ("debug", "info", "warning", "error")

SCRIPTED = "scripted"  # the built-in provider that is no language model, and its only model
OPENAI = "openai"  # the built-in provider that needs nothing but OPENAI_API_KEY
OPENAI_MODEL = "gpt-5.5"  # what `openai` is asked for when `model` is not set

HOUR = 3600.0
WEBHOOK_RETRY_SECONDS = (
    5.0,
    60.0,
    300.0,
    1800.0,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    20 * HOUR,
)  # 3 d

MAX_SOCKET_PATH_BYTES = 107  # unix(7): sun_path is 108 bytes with its NUL


@dataclass(frozen=True)
class Provider:
    """`[model_providers.NAME]`: where a model is asked, and how."""

    name: str  # display name; default: NAME
    base_url: str  # http(s) URL that `/responses` or `/chat/completions` is appended to; required
    env_key: str | None = None  # the environment variable that holds the API key; none: no key is sent
    wire_api: str = "responses"  # "responses" or "chat" (Chat Completions: vLLM, Ollama, llama.cpp)
    http_headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # sent with every request
    env_http_headers: Mapping[str, str] = field(default_factory=dict)  # header → environment variable with its value
    query_params: Mapping[str, str] = field(default_factory=dict, repr=False)  # added to every request's URL
    request_max_retries: int = 4  # times; a request that got no stream is sent again
    stream_max_retries: int = 5  # times; a stream that broke is begun again
    stream_idle_timeout_ms: int = 300_000  # ms; a stream that is silent for longer has broken
    api_key: str | None = field(default=None, repr=False)  # the value of env_key; None: the variable is not set
    resolved_headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # both kinds of headers, with values


@dataclass(frozen=True)
class SandboxWorkspaceWrite:
    """`[sandbox_workspace_write]`: what the mode workspace-write allows beside the workspace."""

    writable_roots: tuple[str, ...] = ()  # absolute paths; more folders that commands may write to
    network_access: bool = False  # whether commands may use the network
    exclude_tmpdir_env_var: bool = False  # true: $TMPDIR is not writable
    exclude_slash_tmp: bool = False  # true: /tmp is not writable


@dataclass(frozen=True)
class Server:
    """`[server]`: this deployment."""

    workspaces_dir: Path  # folder of the threads' own workspaces; default HOME/workspaces
    host: str = "127.0.0.1"  # address that the API listens on
    port: int = 8765  # port that the API listens on, 1 to 65535
    titles: bool = True  # serve the title threads of clients (they cost a model call a prompt)
    hosts: tuple[str, ...] = ()  # names that clients call this server by; then requests for others are refused
    proxies: int = 0  # proxies in front that set X-Forwarded-For; the address that the last of them saw is the client's
    # The modes that clients may ask for. None: all for the local user, for users with keys all but danger-full-access.
    sandbox_modes: tuple[str, ...] | None = None
    # Absolute paths; clients may work below these and in their own workspaces. Empty: the local user anywhere, users
    # with keys in their own workspaces alone.
    workspace_roots: tuple[str, ...] = ()
    sessions_dir: Path | None = None  # folder of the session files; default HOME/sessions with SQLite, else none
    lease_seconds: float = 30.0  # s; how long a claim holds without a renewal
    renewal_seconds: float = 10.0  # s between renewals; default lease / 3
    authority_seconds: float = 25.0  # s after the last renewal that a worker stops by itself; default lease × 25/30
    sweep_seconds: float = 5.0  # s between two sweeps of a worker process
    approval_timeout_seconds: float = 604_800.0  # s (7 days); a question nobody answered is then declined
    max_lost: int = 3  # times that a turn may lose its worker without getting on; one more fails it
    worker_concurrency: int = 200  # turns and calls at once, per worker process
    tool_runner: Path | None = None  # socket of `threadhouse runner`; none: each worker starts a runner of its own
    dangerously_run_as_root: bool = False  # true: workers run as root although the server has users or is reachable
    log_level: str = "info"  # debug, info, warning or error
    event_log_length: int = 10_000  # entries; how far back a client can catch up from Redis, per thread
    notify_timeout_seconds: float = 30.0  # s; a notify program that runs for longer is ended
    webhook_timeout_seconds: float = 10.0  # s for one delivery to a webhook, from the name to the answer
    webhook_retry_seconds: tuple[float, ...] = WEBHOOK_RETRY_SECONDS  # s to wait behind each attempt that failed


@dataclass(frozen=True)
class AuthSettings:
    """`[auth]`: bearer tokens that somebody else signs (JWT), beside our own keys. One of the two files is needed."""

    issuer: str  # the `iss` that tokens must have; required
    audience: str  # the `aud` that tokens must have, or have among theirs; required
    jwt_secret_file: Path | None = None  # shared secret of HS256, 32 bytes or more; relative to HOME
    jwks_file: Path | None = None  # JSON Web Key Set with public keys of RS256 or ES256; read again when it changes
    leeway_seconds: int = 30  # s that the clocks of the issuer and of this server may differ
    user_claim: str = "sub"  # the claim that holds the user's name
    create_users: bool = False  # true: a name that is not known yet becomes a member; false: it is refused


@dataclass(frozen=True)
class Limits:
    """`[limits]`; 0 means no limit. Those of one user are defaults: `threadhouse users limits` sets others."""

    turns_at_once: int = 0  # of one user: turns that run at the same time; more wait
    queued_turns: int = 1000  # of one user: turns that wait; more are refused
    requests_per_minute: int = 0  # of one user: over both WebSocket and HTTP
    connections: int = 0  # of one user: open WebSockets and event streams, over all API processes
    threads: int = 0  # of one user: archived ones too
    stored_bytes: int = 0  # of one user: of the items of all threads, as their turns end
    tokens_per_day: int = 0  # of one user: input and output, from midnight to midnight UTC
    tokens_per_month: int = 0  # of one user: the same, by calendar month
    warn_percent: int = 80  # of a token budget; from then on the user is warned, once a day or month; 1 to 100
    waiting_turns: int = 10_000  # of all users: turns that wait; more are refused
    workspace_bytes: int = 10 << 30  # of one thread's workspace, for users with keys; more ends the command that writes
    workspace_files: int = 500_000  # of the same: files and folders
    workspaces_bytes: int = 0  # of all workspaces of one user; more ends their commands that write
    workspaces_files: int = 0  # of the same: files and folders
    command_memory_bytes: int = 4 << 30  # of all processes of a command together, for users with keys


@dataclass(frozen=True)
class Retention:
    """`[retention]`: how many days things are kept; 0 means for ever."""

    threads_days: int = 0  # since a thread last changed; then it goes with all that is its
    archived_threads_days: int = 0  # the same of archived threads
    feedback_days: int = 0  # reports whose processing is over, and what the sinks of this deployment keep of them
    audit_days: int = 0  # rows of the audit log
    receipts_days: int = 0  # receipts of what was erased


@dataclass(frozen=True)
class Config:
    """Everything that a process may know about its deployment."""

    home: Path  # THREADHOUSE_HOME; absolute; the folder of an embedded server
    redis_url: str = field(
        repr=False
    )  # THREADHOUSE_REDIS_URL (redis://, rediss://, unix://); default: the embedded one
    database_url: str = field(repr=False)  # THREADHOUSE_DATABASE_URL, for SQLAlchemy; default HOME/threadhouse.sqlite3
    server: Server  # [server]
    model: str = (
        SCRIPTED  # the model of threads that name none; with `openai`: gpt-5.5; with your own provider: required
    )
    model_provider: str = SCRIPTED  # a NAME of model_providers or "scripted"; default "openai" if OPENAI_API_KEY is set
    model_reasoning_effort: str | None = None  # one of REASONING_EFFORTS; None: the model's own
    model_reasoning_summary: str | None = None  # one of REASONING_SUMMARIES; None: the model's own
    model_context_window: int | None = None  # tokens; None: what the catalogue says of the model
    model_auto_compact_token_limit: int | None = None  # tokens; None: most of the model's window
    approval_policy: str = "on-request"  # untrusted, on-request or never
    sandbox_mode: str = "workspace-write"  # read-only, workspace-write or danger-full-access
    sandbox_workspace_write: SandboxWorkspaceWrite = field(default_factory=SandboxWorkspaceWrite)
    developer_instructions: str | None = None  # text that every thread's model gets as a developer message
    model_providers: Mapping[str, Provider] = field(default_factory=dict)  # the configured ones, and `openai`
    limits: Limits = field(default_factory=Limits)  # [limits]
    retention: Retention = field(default_factory=Retention)  # [retention]
    auth: AuthSettings | None = None  # [auth]; None: only our own keys let anybody in
    workspaces: Workspaces = field(default_factory=Workspaces)  # [workspaces]
    notify: tuple[str, ...] = ()  # program and arguments, run after each completed turn (PROTOCOL 13); empty: none
    webhooks: tuple[Webhook, ...] = ()  # [[webhooks]]
    otel: Otel = field(default_factory=Otel)  # [otel]
    feedback: FeedbackSettings = field(default_factory=lambda: FeedbackSettings(Path("feedback")))  # [feedback]
    warnings: tuple[str, ...] = ()  # sentences about keys that have no effect, for the log

    def allowed_modes(self, *, hosted: bool) -> frozenset[str]:
        """Sandbox modes that a client may ask for; what the operator has made the default is always among them.

        hosted: for users with keys or tokens. They share the host, so full access is theirs only when sandbox_modes is
                set and has it.
        """
        modes = self.server.sandbox_modes or tuple(m for m in SANDBOX_MODES if not hosted or m != FULL_ACCESS)
        return frozenset((*modes, self.sandbox_mode))

    @property
    def listeners(self) -> dict[str, tuple[str, ...]]:
        """Event → who is told of it, as a Store wants to know."""
        return listeners(self.webhooks, notify=bool(self.notify))

    @property
    def redis_is_embedded(self) -> bool:
        """Whether redis_url is that of the Redis that `threadhouse up` starts itself."""
        return self.redis_url == embedded_redis_url(self.home)


def embedded_redis_url(home: Path) -> str:
    """URL of the unix socket of a home's own Redis: in HOME/run, or under /tmp when HOME is too long for a socket."""
    socket = home / "run" / "redis.sock"
    if len(os.fsencode(socket)) > MAX_SOCKET_PATH_BYTES:
        digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
        socket = Path(f"/tmp/threadhouse-{os.getuid()}-{digest}/redis.sock")
    return f"unix://{quote(str(socket))}"


def load(home: Path | None, environ: Mapping[str, str]) -> Config:
    """Read HOME/config.toml (it may be missing) and the environment.

    home:    the folder; None: THREADHOUSE_HOME, else ~/.threadhouse. It need not exist.
    Errors:  ConfigError, naming file, key, expectation and what was found
    """
    home = Path(os.path.abspath(Path(home or environ.get("THREADHOUSE_HOME") or "~/.threadhouse").expanduser()))
    root = ConfigTable(home / "config.toml", "", _read(home / "config.toml"))

    openai = Provider(
        "OpenAI", "https://api.openai.com/v1", "OPENAI_API_KEY", api_key=environ.get("OPENAI_API_KEY") or None
    )
    providers = {OPENAI: openai} | {
        name: _provider(name, t, environ) for name, t in root.tables("model_providers").items()
    }
    model_provider, model = _model(root, providers)
    database_url = _database_url(environ.get("THREADHOUSE_DATABASE_URL"), home)
    workspace_write = root.table("sandbox_workspace_write")
    limits, retention = root.table("limits"), root.table("retention")

    return Config(
        home=home,
        redis_url=_redis_url(environ.get("THREADHOUSE_REDIS_URL")) or embedded_redis_url(home),
        database_url=database_url,
        server=_server(root.table("server"), home, embedded=database_url.startswith("sqlite:")),
        model=model,
        model_provider=model_provider,
        model_reasoning_effort=root.choice("model_reasoning_effort", REASONING_EFFORTS),
        model_reasoning_summary=root.choice("model_reasoning_summary", REASONING_SUMMARIES),
        model_context_window=root.integer("model_context_window", 0, at_least=1) or None,
        model_auto_compact_token_limit=root.integer("model_auto_compact_token_limit", 0, at_least=1) or None,
        approval_policy=root.choice("approval_policy", APPROVAL_POLICIES) or Config.approval_policy,
        sandbox_mode=root.choice("sandbox_mode", SANDBOX_MODES) or Config.sandbox_mode,
        sandbox_workspace_write=SandboxWorkspaceWrite(
            writable_roots=workspace_write.absolute_paths("writable_roots"),
            network_access=workspace_write.flag("network_access", SandboxWorkspaceWrite.network_access),
            exclude_tmpdir_env_var=workspace_write.flag(
                "exclude_tmpdir_env_var", SandboxWorkspaceWrite.exclude_tmpdir_env_var
            ),
            exclude_slash_tmp=workspace_write.flag("exclude_slash_tmp", SandboxWorkspaceWrite.exclude_slash_tmp),
        ),
        developer_instructions=root.text("developer_instructions"),
        model_providers=providers,
        limits=Limits(
            turns_at_once=limits.integer("turns_at_once", Limits.turns_at_once),
            queued_turns=limits.integer("queued_turns", Limits.queued_turns),
            requests_per_minute=limits.integer("requests_per_minute", Limits.requests_per_minute),
            connections=limits.integer("connections", Limits.connections),
            threads=limits.integer("threads", Limits.threads),
            stored_bytes=limits.integer("stored_bytes", Limits.stored_bytes),
            workspace_bytes=limits.integer("workspace_bytes", Limits.workspace_bytes),
            workspace_files=limits.integer("workspace_files", Limits.workspace_files),
            workspaces_bytes=limits.integer("workspaces_bytes", Limits.workspaces_bytes),
            workspaces_files=limits.integer("workspaces_files", Limits.workspaces_files),
            command_memory_bytes=limits.integer("command_memory_bytes", Limits.command_memory_bytes),
            tokens_per_day=limits.integer("tokens_per_day", Limits.tokens_per_day),
            tokens_per_month=limits.integer("tokens_per_month", Limits.tokens_per_month),
            warn_percent=limits.integer("warn_percent", Limits.warn_percent, at_least=1, at_most=100),
            waiting_turns=limits.integer("waiting_turns", Limits.waiting_turns),
        ),
        retention=Retention(
            **{setting.name: retention.integer(setting.name, 0) for setting in fields(Retention)},
        ),
        auth=_auth(root.table("auth"), home) if root.has("auth") else None,
        workspaces=read_workspaces(root.table("workspaces"), environ),
        notify=root.texts("notify"),
        webhooks=read_webhooks(root, environ),
        otel=read_otel(root.table("otel"), home, environ),
        feedback=read_feedback(root, home),
        warnings=root.warnings(),
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: expected valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None


def _redis_url(url: str | None) -> str | None:
    if url and not url.startswith(("redis://", "rediss://", "unix://")):
        raise ConfigError("environment: THREADHOUSE_REDIS_URL: expected redis://…, rediss://… or unix://…")
    return url or None


def _database_url(url: str | None, home: Path) -> str:
    if not url:
        return f"sqlite:///{home / 'threadhouse.sqlite3'}"
    scheme, separator, rest = url.partition("://")
    if separator and scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        return f"postgresql+psycopg://{rest}"
    if separator and scheme == "sqlite":
        return url
    raise ConfigError("environment: THREADHOUSE_DATABASE_URL: expected postgresql://… or sqlite:///…")


def _model(root: ConfigTable, providers: Mapping[str, Provider]) -> tuple[str, str]:
    """(model_provider, model), as far as they are configured or follow from what is there."""
    provider, model = root.text("model_provider"), root.text("model")
    if provider is None and providers[OPENAI].api_key:
        provider = OPENAI
    if provider is None:
        if model is not None or len(providers) > 1:
            root.warn("model_provider: not set and no OPENAI_API_KEY: the built-in scripted model answers")
        return SCRIPTED, SCRIPTED
    if provider == SCRIPTED:
        return SCRIPTED, model or SCRIPTED
    if provider not in providers:
        raise root.error("model_provider", f"one of {', '.join([*providers, SCRIPTED])}", provider, show=True)
    if model is None and provider != OPENAI:
        raise root.error("model", f"the name of a model that {provider} serves", None)
    return provider, model or OPENAI_MODEL


def _provider(name: str, table: ConfigTable, environ: Mapping[str, str]) -> Provider:
    if name == SCRIPTED:
        raise ConfigError(f"{table.file}: model_providers.{SCRIPTED}: expected another name, this one is built in")
    base_url = table.text("base_url")
    if base_url is None or not base_url.startswith(("http://", "https://")):
        raise table.error("base_url", "an http:// or https:// URL", base_url)
    env_key = table.text("env_key")
    headers, env_headers = table.mapping("http_headers"), table.mapping("env_http_headers")
    return Provider(
        name=table.text("name") or name,
        base_url=base_url.rstrip("/"),
        env_key=env_key,
        wire_api=table.choice("wire_api", WIRE_APIS) or Provider.wire_api,
        http_headers=headers,
        env_http_headers=env_headers,
        query_params=table.mapping("query_params"),
        request_max_retries=table.integer("request_max_retries", Provider.request_max_retries),
        stream_max_retries=table.integer("stream_max_retries", Provider.stream_max_retries),
        stream_idle_timeout_ms=table.integer("stream_idle_timeout_ms", Provider.stream_idle_timeout_ms, at_least=1),
        api_key=(environ.get(env_key) or None) if env_key else None,
        resolved_headers=headers | {header: environ[key] for header, key in env_headers.items() if environ.get(key)},
    )


def _auth(table: ConfigTable, home: Path) -> AuthSettings:
    secret, keys = table.path("jwt_secret_file", home), table.path("jwks_file", home)
    issuer, audience = table.text("issuer"), table.text("audience")
    if (secret is None) == (keys is None):
        raise table.error("jwks_file", "either this or jwt_secret_file", None if keys is None else str(keys))
    if issuer is None:
        raise table.error("issuer", "the `iss` of your tokens", None)
    if audience is None:
        raise table.error("audience", "the `aud` of your tokens", None)
    return AuthSettings(
        issuer=issuer,
        audience=audience,
        jwt_secret_file=secret,
        jwks_file=keys,
        leeway_seconds=table.integer("leeway_seconds", AuthSettings.leeway_seconds, at_most=300),
        user_claim=table.text("user_claim") or AuthSettings.user_claim,
        create_users=table.flag("create_users", AuthSettings.create_users),
    )


def _server(table: ConfigTable, home: Path, *, embedded: bool) -> Server:
    lease = table.seconds("lease_seconds", Server.lease_seconds)
    server = Server(
        workspaces_dir=table.path("workspaces_dir", home) or home / "workspaces",
        host=table.text("host") or Server.host,
        port=table.integer("port", Server.port, at_least=1, at_most=65_535),
        titles=table.flag("titles", Server.titles),
        hosts=tuple(name.lower() for name in table.texts("hosts")),
        proxies=table.integer("proxies", Server.proxies),
        sandbox_modes=table.choices("sandbox_modes", SANDBOX_MODES) if table.has("sandbox_modes") else None,
        workspace_roots=table.absolute_paths("workspace_roots"),
        sessions_dir=table.path("sessions_dir", home) or (home / "sessions" if embedded else None),
        lease_seconds=lease,
        renewal_seconds=table.seconds("renewal_seconds", lease / 3),
        authority_seconds=table.seconds("authority_seconds", lease * 25 / 30),
        sweep_seconds=table.seconds("sweep_seconds", Server.sweep_seconds),
        approval_timeout_seconds=table.seconds("approval_timeout_seconds", Server.approval_timeout_seconds),
        max_lost=table.integer("max_lost", Server.max_lost),
        worker_concurrency=table.integer("worker_concurrency", Server.worker_concurrency, at_least=1),
        tool_runner=table.path("tool_runner", home),
        dangerously_run_as_root=table.flag("dangerously_run_as_root", Server.dangerously_run_as_root),
        log_level=table.choice("log_level", LOG_LEVELS) or Server.log_level,
        event_log_length=table.integer("event_log_length", Server.event_log_length, at_least=1),
        notify_timeout_seconds=table.seconds("notify_timeout_seconds", Server.notify_timeout_seconds),
        webhook_timeout_seconds=table.seconds("webhook_timeout_seconds", Server.webhook_timeout_seconds),
        webhook_retry_seconds=table.several_seconds("webhook_retry_seconds", Server.webhook_retry_seconds),
    )
    if server.authority_seconds >= lease:
        raise table.error("authority_seconds", f"less than lease_seconds ({lease:g})", server.authority_seconds)
    if server.renewal_seconds >= server.authority_seconds:
        expectation = f"less than authority_seconds ({server.authority_seconds:g})"
        raise table.error("renewal_seconds", expectation, server.renewal_seconds)
    return server
