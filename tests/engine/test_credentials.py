"""What an agent may do unasked, as far as the machine lets it."""

import os

import pytest

from devsh_memory_mcp.agents.catalogue import find_adapter
from devsh_memory_mcp.engine.credentials import checked_permissions
from devsh_memory_mcp.errors import InvalidRequest


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused")
@pytest.mark.parametrize("said", [{}, {"IS_SANDBOX": ""}, {"IS_SANDBOX": "0"}])
def test_root_may_bypass_permissions_only_where_the_machine_is_said_to_be_a_sandbox(said: dict[str, str]) -> None:
    adapter = find_adapter("claude/opus")
    with pytest.raises(InvalidRequest, match="claude itself refuses to bypass permissions as root") as refused:
        checked_permissions(adapter, "claude/opus", "bypass", said)
    assert "set IS_SANDBOX=1" in refused.value.next_step
    assert checked_permissions(adapter, "claude/opus", "bypass", {"IS_SANDBOX": "1"}) == "bypass"
