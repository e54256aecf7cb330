"""Where the source calls what is a boundary: read from the source, so that none is forgotten."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.faults.hooks import CALLS, SOCKET_CALLS

PACKAGE = Path(__file__).parents[2] / "devsh_memory_mcp"
# What takes part in the protocols. Of the engine the files of the runner; what faces alone do has nobody who waits for its end.
PARTS = ("shim", "store", "backends", "engine")
_READS = {"os.pread", "os.pidfd_open", "shutil.which", "shutil.disk_usage", "socket.socket", "socket.socketpair", "socket.CMSG_SPACE"}
# What does its work by a call that has a name of its own; methods by their name alone, whatever they are called on.
_BY_ANOTHER = {
    **{"os.makedirs": "os.mkdir", "tempfile.TemporaryDirectory": "os.mkdir", "tempfile.TemporaryFile": "os.open"},
    **dict.fromkeys(("subprocess.Popen", "subprocess.run", "anyio.open_process", "anyio.run_process"), "fork_exec"),
    **{"anyio.create_unix_listener": "socket.bind", "anyio.connect_unix": "socket.connect", "socket.send_fds": "socket.sendmsg"},
}
_METHODS = {
    **{"unlink": "os.unlink", "mkdir": "os.mkdir", "rmdir": "os.rmdir", "chmod": "os.chmod", "rename": "os.rename", "touch": "os.open"},
    **{"symlink_to": "os.symlink", "hardlink_to": "os.link", "write_text": "open", "write_bytes": "open"},
    **{name: f"socket.{name}" for name in SOCKET_CALLS},
}
_WHOLE = ("shutil.", "tempfile.", "socket.")  # modules of which every call counts that does not only read


def sites() -> Iterator[str]:
    """Every `module.function call` in the source of the parts."""
    for part in PARTS:
        for path in sorted((PACKAGE / part).rglob("*.py")):
            module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
            yield from calls(path.read_text(encoding="utf-8"), module)


def calls(source: str, module: str) -> Iterator[str]:
    """The same of one module's source."""
    yield from _within(ast.parse(source), module, "")


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
    if said in _READS:
        return None
    if said in _BY_ANOTHER:
        return _BY_ANOTHER[said]
    if said.startswith(_WHOLE) or said in ("fcntl.flock", "signal.pidfd_send_signal"):
        return said
    if said.startswith("os."):
        return said if said.removeprefix("os.") in CALLS else None
    return _method(call, said.rpartition(".")[2] if isinstance(call.func, ast.Attribute) else said)


def _method(call: ast.Call, name: str) -> str | None:
    """Of `open`, and of what may be a path or a socket."""
    if name == "open":
        named = [one.value for one in call.keywords if one.arg == "mode"]
        modes = [mode.value for mode in (*call.args[isinstance(call.func, ast.Name) :][:1], *named) if isinstance(mode, ast.Constant)]
        return "open" if any(set("wax+") & set(str(mode)) for mode in modes) else None
    if name == "replace":  # a path's takes one argument, a text's two; a record's is a function
        return "os.replace" if isinstance(call.func, ast.Attribute) and len(call.args) == 1 and not call.keywords else None
    return _METHODS.get(name) if isinstance(call.func, ast.Attribute) else None
