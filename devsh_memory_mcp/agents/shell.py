"""`shell/<shell>`: the prompt is a script, the result the end of its output, success exit code 0.

Real work without a key: the demonstration, the tests and every build step that needs no model.
"""

from devsh_memory_mcp.agents.adapter import Assignment, Command, Ending, Talk, Verdict


class Shell:
    """Runs the prompt with one shell; it cannot be spoken to while it runs."""

    takes_messages = False
    keeps_sessions = False
    provider = None

    def __init__(self, shell: str) -> None:
        self._shell = shell

    def command(self, assignment: Assignment) -> Command:
        """The shell, with the prompt as its script."""
        return Command(argv=(self._shell, assignment.prompt_path))

    def talk(self, assignment: Assignment) -> Talk | None:
        """A script reads nothing of ours."""

    def narrate(self, line: str) -> str | None:
        """What it prints is for people already."""
        return line

    def verdict(self, ending: Ending) -> Verdict:
        """Exit code 0 is success; the result is what was printed last, on stderr where stdout is empty."""
        result = ending.stdout_tail or ending.stderr_tail
        if ending.exit_code == 0:
            return Verdict(succeeded=True, result=result, result_truncated=ending.truncated)
        how = f"killed by signal {ending.signal}" if ending.signal else f"exit code {ending.exit_code}"
        last = (ending.stderr_tail or ending.stdout_tail).strip().rpartition("\n")[2]
        return Verdict(
            succeeded=False,
            result=result,
            error_message=f"{self._shell}: {how}{': ' + last[:500] if last else ''}",
            result_truncated=ending.truncated,
        )

    def reopen(self, session_id: str) -> tuple[str, ...] | None:
        """A script remembers nothing."""
