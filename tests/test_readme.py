"""The README says what the code does: its diagram, its commands, its tools, its exit codes."""

import re
from pathlib import Path

from devsh_memory_mcp.cli.main import MEMBERS
from devsh_memory_mcp.cli.orchestrate import MEMBERS as COMMANDS
from devsh_memory_mcp.domain.status import diagram
from devsh_memory_mcp.faces.mcp_tools import FACES

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_its_state_diagram_is_the_table_of_transitions() -> None:
    assert f"```mermaid\n{diagram()}\n```" in README


def test_it_names_every_command() -> None:
    missing = [
        name for name in (*MEMBERS, *COMMANDS) if not re.search(rf"`(devsh )?{name}\b", README) and name not in ("orchestrate", "runner")
    ]
    assert not missing


def test_it_names_every_tool() -> None:
    assert [face.name for face in FACES if f"`{face.name}`" not in README] == []


def test_every_file_that_it_links_is_there() -> None:
    here = Path(__file__).parent.parent
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", README)]
    assert [link for link in links if link and not (here / link).exists()] == []
