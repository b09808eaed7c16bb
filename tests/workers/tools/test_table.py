"""The table of tools."""

from __future__ import annotations

import inspect

import pytest

from shared.protocol.dynamic_tools import REPLACEABLE, RESERVED
from workers.tools import TOOLS, mcp_resources, user_shell
from workers.tools.base import Tool


def test_no_client_may_give_its_tool_the_name_of_one_of_ours() -> None:
    own = {*(tool.NAME for tool in TOOLS.values()), user_shell.NAME, *mcp_resources.NAMES}
    assert own == RESERVED | {*REPLACEABLE}


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_is_what_the_agent_expects(name: str) -> None:
    tool = TOOLS[name]

    assert (tool.NAME, tool.SPEC["name"], type(tool.PURE)) == (name, name, bool)
    for function in ("prepare", "run"):
        expected = inspect.signature(getattr(Tool, function))
        assert str(inspect.signature(getattr(tool, function))) == str(expected).replace("self, ", "")
