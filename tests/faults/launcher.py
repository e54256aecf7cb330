"""A Python that starts programs of ours with hooks in them: they start one another by `sys.executable`, which is this one then."""

import os
import sys

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_ROLES = {
    "devsh_memory_mcp.runner": "runner",
    "shim.forkserver": "forkserver",
    "shim.__main__": "recovery",
    "shim.doorbell": "starter",
}


def launch(plan: str, launcher: str) -> None:
    """Does what an interpreter does with `-I [-S] -c CODE …`, with hooks."""
    flags, code, rest = sys.argv[1 : sys.argv.index("-c")], sys.argv[sys.argv.index("-c") + 1], sys.argv[sys.argv.index("-c") + 2 :]
    sys.argv[:] = ["-c", *rest]
    sys.path.remove(_ROOT)
    if "-S" not in flags:
        import site

        site.main()
    sys.path.insert(0, _ROOT)
    from tests.faults.hooks import Hooks

    sys.path.remove(_ROOT)
    role = next((role for words, role in _ROLES.items() if words in code), "other")
    sys.executable = launcher
    Hooks(plan, role).install()
    exec(compile(code, "<launched>", "exec"), {"__name__": "__main__"})
