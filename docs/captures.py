"""Makes the pictures of this directory anew, from a real run: real agents, with Claude Code among them, whose model is scripted.

`just captures`. It needs claude as the tests do (tests/claude/binary.py) and works in /tmp/tides, which must not be there.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.claude.binary import FOUND, get_claude
from tests.doubles.aftermath import end_processes
from tests.doubles.glass import Glass
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Tool, Turn
from tests.doubles.teletype import Teletype

PROJECT = Path(__file__).parents[1]
HERE = Path("/tmp/tides")  # in every path that is shown: no place of one person or one machine
COLUMNS = 100

TIDES = '''"""How high the water stands."""


def height(metres: float) -> str:
    return f"{metres:.1f} m"
'''
TEST = """import unittest

from tides import height


class Heights(unittest.TestCase):
    def test_metres(self) -> None:
        self.assertEqual(height(1.25), "1.2 m")


if __name__ == "__main__":
    unittest.main()
"""
PLAN = {
    "tasks": [
        {"id": "units", "agentName": "claude/haiku-4.5", "prompt": "Let heights be told in feet as well as in metres"},
        {
            "id": "command",
            "agentName": "claude/haiku-4.5",
            "prompt": "Add a command line with --units, and test it",
            "dependsOn": ["units"],
        },
        {"id": "manual", "agentName": "claude/haiku-4.5", "prompt": "Describe the units in the manual", "dependsOn": ["units"]},
        {
            "id": "tests",
            "agentName": "shell/bash",
            "prompt": "# Run all tests on what they made together\npython3 -m unittest",
            "dependsOn": ["command", "manual"],
        },
        {"id": "history", "agentName": "shell/bash", "prompt": "# Say who wrote what\ngit shortlog -sn HEAD"},
    ]
}
TREE = "{{all:(/\\S+/workspace)}}"


FEET = """def height(metres: float, units: str = "m") -> str:
    return f"{metres / 0.3048:.1f} ft" if units == "ft" else f"{metres:.1f} m"
"""
COMMAND = """import sys

from tides import height

if __name__ == "__main__":
    print(height(float(sys.argv[1]), sys.argv[2]))
"""
MANUAL = "# The manual\n\nHeights are told in metres, or with `ft` in feet.\n"


def script(api: ModelApi) -> None:
    """What the models say. They stop at a gate, so that the board shows them at work."""
    api.route(
        "Let heights be told",
        says("I look at what is there.", Tool("Read", {"file_path": f"{TREE}/tides.py"})),
        says(
            "One function says it all; it gets a second unit.",
            Tool("Edit", {"file_path": f"{TREE}/tides.py", "old_string": TIDES.partition("\n\n\n")[2], "new_string": FEET}),
        ),
        says("", Tool("Bash", {"command": "python3 -m unittest"})),
        says("`height` takes units now, metres or feet; the tests pass."),
    )
    api.route(
        "Add a command line",
        says("", Tool("Write", {"file_path": f"{TREE}/__main__.py", "content": COMMAND})),
        says("", Tool("Bash", {"command": "python3 -m unittest -v"})),
        says("`python3 . 1.25 ft` tells a height in feet.")._replace(hold="photograph"),
    )
    api.route(
        "Describe the units",
        says("", Tool("Bash", {"command": "curl -s https://example.com/style-guide"})),
        says("The style guide is out of my reach.", Tool("Write", {"file_path": f"{TREE}/MANUAL.txt", "content": MANUAL})),
        says("The manual tells of both units.")._replace(hold="photograph"),
    )


def says(text: str, *tools: Tool) -> Turn:
    """A turn of the model, with the tokens that such a one takes."""
    return Turn(text, list(tools), usage={"input_tokens": 11000, "output_tokens": 40 + len(str(tools))})


class Studio:
    """A repository, `devsh` beside it and the scripted model; what it shows is kept as text and as a picture."""

    def __init__(self, api: ModelApi) -> None:
        claude = get_claude(FOUND, os.environ)
        programs, self.repository = HERE / "bin", HERE / "tides"
        programs.mkdir(parents=True)
        self.repository.mkdir()
        (programs / "devsh").write_text(
            f'#!/bin/sh\nPYTHONPATH={PROJECT} exec {sys.executable} -c "from devsh_memory_mcp.cli import main; main()" "$@"\n'
        )
        (programs / "devsh").chmod(0o755)
        self.environment = {
            "PATH": os.pathsep.join([str(programs), str(claude.parent), os.environ["PATH"]]),
            "HOME": str(HERE),
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm-256color",
            "ANTHROPIC_BASE_URL": api.address,
            "ANTHROPIC_API_KEY": "sk-scripted",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }
        (self.repository / "tides.py").write_text(TIDES)
        (self.repository / "test_tides.py").write_text(TEST)
        (self.repository / ".gitignore").write_text("__pycache__/\n")
        (HERE / "plan.json").write_text(json.dumps(PLAN))
        (HERE / ".gitconfig").write_text("[user]\n\tname = Someone\n\temail = someone@example.org\n[init]\n\tdefaultBranch = main\n")
        self.run("git init -q && git add . && git commit -qm 'Tell the tides'")
        self.run("devsh orchestrate spawn-batch ../plan.json")

    def run(self, command: str) -> None:
        """In the repository, to its end."""
        subprocess.run(["bash", "-c", command], cwd=self.repository, env=self.environment, check=True, capture_output=True, timeout=120)

    def shown(self, *command: str, until: Callable[[Glass], object] | None = None, after: Callable[[], None] = lambda: None) -> str:
        """What the command shows at a terminal: its last whole frame once `until` is seen, else all that it prints."""
        with Teletype(("devsh", "orchestrate", *command), self.repository, self.environment, columns=COLUMNS, lines=40) as terminal:
            if until is not None:
                terminal.until(until)
            written = terminal.written
            after()
            terminal.end()
        return written.rpartition("\x1b[?2026h")[2].partition("\x1b[J\x1b[?2026l")[0] if until is not None else terminal.written


def keep(name: str, command: str, shown: str) -> None:
    """As text, and as a picture in the terminal's colours, which loads no font from anywhere."""
    styled = re.sub(r"\x1b\[(?:\?\d+[hl]|\d*[AKJH])|\r", "", shown).strip("\n")
    console = Console(width=COLUMNS, record=True, file=StringIO(), highlight=False)
    text = Text.from_ansi(f"\x1b[1m$ {command}\x1b[0m\n{styled}")
    console.print(text, soft_wrap=False)
    (PROJECT / "docs" / f"{name}.txt").write_text("\n".join(line.rstrip() for line in text.plain.splitlines()) + "\n")
    picture = re.sub(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", "", console.export_svg(title="", unique_id=name), flags=re.DOTALL)
    (PROJECT / "docs" / f"{name}.svg").write_text("\n".join(line.rstrip() for line in picture.splitlines()) + "\n")


def main() -> None:
    """Takes the pictures, one after the other."""
    with ModelApi() as api:
        script(api)
        HERE.mkdir()
        try:
            studio = Studio(api)
            board = studio.shown("status", "--watch", until=is_in_full_swing, after=lambda: api.open("photograph"))
            keep("board", "devsh orchestrate status --watch", board)
            keep("results", "devsh orchestrate results", studio.shown("results"))
            keep("logs", "devsh orchestrate logs units", studio.shown("logs", "units"))
        finally:
            end_processes(HERE / ".local/state/devsh")
            shutil.rmtree(HERE)
        assert not api.complaints, api.complaints


def is_in_full_swing(glass: Glass) -> bool:
    """Whether each task is where its picture is to show it."""
    shown = "\n".join(glass.shown)
    return "unittest -v" in shown and "writes MANUAL" in shown and "$" in shown and "completed, " not in shown


if __name__ == "__main__":
    main()
