"""Where the source calls what is a boundary: read from the source, so that none is forgotten."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.faults.hooks import CALLS

PACKAGE = Path(__file__).parents[2] / "devsh_memory_mcp"
# What takes part in the protocols. Of the engine the files of the runner; what faces alone do has nobody who waits for its end.
PARTS = ("shim", "store", "backends", "engine")
_READS = {"os.pread", "os.pidfd_open"}


def sites() -> Iterator[str]:
    """Every `module.function call` in the source of the parts."""
    for part in PARTS:
        for path in sorted((PACKAGE / part).rglob("*.py")):
            module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
            yield from _within(ast.parse(path.read_text(encoding="utf-8")), module, "")


def _within(node: ast.AST, module: str, function: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        name = function
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            below = "" if not function else f"{function}." if isinstance(node, ast.ClassDef) else f"{function}.<locals>."
            name = below + child.name
        elif isinstance(child, ast.Call) and (called := _called(child)) is not None:
            yield f"{module}.{function or '<module>'} {called}"
        yield from _within(child, module, name)


def _called(call: ast.Call) -> str | None:
    """The name by which a boundary knows the call, None for every other call."""
    said = ast.unparse(call.func)
    if said.startswith("os.") and said.removeprefix("os.") in CALLS and said not in _READS:
        return said
    if said in ("subprocess.Popen", "subprocess.run"):
        return "fork_exec"
    modes = [ast.literal_eval(mode) for mode in call.args[1:2] if isinstance(mode, ast.Constant)]
    if said == "open" and any(set("wax+") & set(str(mode)) for mode in modes):
        return "open"
    return said if said == "fcntl.flock" else None
