"""The methods that do something, one file each, named after the wire."""

from __future__ import annotations

from typing import Any, Protocol

from api.context import Context
from api.methods import (
    account_rate_limits_read,
    account_read,
    account_usage_read,
    command_exec,
    command_exec_resize,
    command_exec_terminate,
    command_exec_write,
    config_batch_write,
    config_read,
    config_requirements_read,
    config_value_write,
    erasure_list,
    feedback_list,
    feedback_read,
    feedback_upload,
    fs_copy,
    fs_create_directory,
    fs_get_metadata,
    fs_read_directory,
    fs_read_file,
    fs_remove,
    fs_write_file,
    fuzzy_file_search,
    fuzzy_file_search_session_start,
    fuzzy_file_search_session_stop,
    fuzzy_file_search_session_update,
    git_diff_to_remote,
    initialize,
    model_list,
    model_provider_list,
    permission_profile_list,
    review_start,
    skills_list,
    thread_archive,
    thread_compact_start,
    thread_delete,
    thread_fork,
    thread_goal_clear,
    thread_goal_get,
    thread_goal_set,
    thread_inject_items,
    thread_items_list,
    thread_list,
    thread_loaded_list,
    thread_metadata_update,
    thread_name_set,
    thread_read,
    thread_resume,
    thread_revert,
    thread_rollback,
    thread_settings_update,
    thread_shell_command,
    thread_start,
    thread_turns_list,
    thread_unarchive,
    thread_unsubscribe,
    thread_workspace_read,
    turn_interrupt,
    turn_start,
    turn_steer,
)
from api.params import ParamsSchema
from shared.protocol.base import WireSchema


class Method(Protocol):
    """What each of these modules holds."""

    @property
    def NAME(self) -> str: ...

    @property
    def Params(self) -> type[ParamsSchema]: ...

    @property
    def Result(self) -> type[WireSchema]: ...

    def handle(self, ctx: Context, params: dict[str, Any]) -> dict[str, Any]: ...


TABLE: dict[str, Method] = {
    "account/rateLimits/read": account_rate_limits_read,
    "account/read": account_read,
    "account/usage/read": account_usage_read,
    "command/exec": command_exec,
    "command/exec/resize": command_exec_resize,
    "command/exec/terminate": command_exec_terminate,
    "command/exec/write": command_exec_write,
    "config/batchWrite": config_batch_write,
    "config/read": config_read,
    "config/value/write": config_value_write,
    "configRequirements/read": config_requirements_read,
    "erasure/list": erasure_list,
    "feedback/list": feedback_list,
    "feedback/read": feedback_read,
    "feedback/upload": feedback_upload,
    "fs/copy": fs_copy,
    "fs/createDirectory": fs_create_directory,
    "fs/getMetadata": fs_get_metadata,
    "fs/readDirectory": fs_read_directory,
    "fs/readFile": fs_read_file,
    "fs/remove": fs_remove,
    "fs/writeFile": fs_write_file,
    "fuzzyFileSearch": fuzzy_file_search,
    "fuzzyFileSearch/sessionStart": fuzzy_file_search_session_start,
    "fuzzyFileSearch/sessionStop": fuzzy_file_search_session_stop,
    "fuzzyFileSearch/sessionUpdate": fuzzy_file_search_session_update,
    "gitDiffToRemote": git_diff_to_remote,
    "initialize": initialize,
    "model/list": model_list,
    "review/start": review_start,
    "modelProvider/list": model_provider_list,
    "permissionProfile/list": permission_profile_list,
    "skills/list": skills_list,
    "thread/archive": thread_archive,
    "thread/compact/start": thread_compact_start,
    "thread/delete": thread_delete,
    "thread/fork": thread_fork,
    "thread/goal/clear": thread_goal_clear,
    "thread/goal/get": thread_goal_get,
    "thread/goal/set": thread_goal_set,
    "thread/inject_items": thread_inject_items,
    "thread/items/list": thread_items_list,
    "thread/list": thread_list,
    "thread/loaded/list": thread_loaded_list,
    "thread/metadata/update": thread_metadata_update,
    "thread/name/set": thread_name_set,
    "thread/read": thread_read,
    "thread/resume": thread_resume,
    "thread/revert": thread_revert,
    "thread/rollback": thread_rollback,
    "thread/settings/update": thread_settings_update,
    "thread/shellCommand": thread_shell_command,
    "thread/start": thread_start,
    "thread/turns/list": thread_turns_list,
    "thread/unarchive": thread_unarchive,
    "thread/unsubscribe": thread_unsubscribe,
    "thread/workspace/read": thread_workspace_read,
    "turn/interrupt": turn_interrupt,
    "turn/start": turn_start,
    "turn/steer": turn_steer,
}
