"""A `sandbox-exec` for systems without one: it keeps what it was told beside itself and becomes the command, without any wall."""

import pathlib

from devsh_memory_mcp.shim.seatbelt import Profile
from tests.doubles.seatbelt import Evaluator

_SCRIPT = """#!/bin/sh
printf '%s\\0' "$@" >>"$0.told"; printf '\\0' >>"$0.told"
[ "$1" = -p ] || exit 64
shift 2
while [ "${1#-D}" != "$1" ]; do shift; done
[ "$1" = -- ] || exit 64
shift
exec "$@"
"""


class SandboxExec:
    """With `fails` it says that and exits as the true one does where it does not understand a profile."""

    def __init__(self, directory: pathlib.Path, *, fails: str | None = None) -> None:
        self.path = directory / "sandbox-exec"
        self.path.write_text(_SCRIPT if fails is None else f"#!/bin/sh\necho 'sandbox-exec: {fails}' >&2; exit 65\n")
        self.path.chmod(0o755)

    @property
    def told(self) -> list[Evaluator]:
        """The profile of each command."""
        calls = (self.path.parent / "sandbox-exec.told").read_text().split("\0\0")[:-1]
        return [_evaluator(call.split("\0")) for call in calls]


def _evaluator(words: list[str]) -> Evaluator:
    named = (word[2:].split("=", 1) for word in words[2 : words.index("--")])
    return Evaluator(Profile(words[1], dict(named)))
