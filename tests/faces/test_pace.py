"""How often one may ask."""

import pytest

from devsh_memory_mcp.errors import TooManyRequests
from devsh_memory_mcp.faces.http_pace import Pace


def test_so_many_at_once_and_then_so_many_a_second_for_each_by_himself() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0], per_second=2.0, at_once=3.0)
    for _ in range(3):
        pace.count("anna")
    with pytest.raises(TooManyRequests, match="2 times a second"):
        pace.count("anna")
    pace.count("otto")
    now[0] = 0.5
    pace.count("anna")
    with pytest.raises(TooManyRequests):
        pace.count("anna")
    now[0] = 100.0
    for _ in range(3):
        pace.count("anna")
    with pytest.raises(TooManyRequests):
        pace.count("anna")
