"""Git's objects that a checkout borrows: where they are, and whether an agent who is not root can read them."""

import os
import typing

from devsh_memory_mcp.shim.probe import Missing

_ALTERNATES = 5


def objects_of(repository: str) -> list[str]:
    """The directories that a checkout of this git directory reads objects in: its own, and those that it borrows itself."""
    found = [f"{repository}/objects"]
    for path in found[:_ALTERNATES]:
        found += _alternates(path)
    return [path for path in dict.fromkeys(found) if os.path.isdir(path)]


def closed(objects: typing.Iterable[str]) -> Missing | None:
    """What of it only root can read, and what opens it."""
    wanted = (place for path in objects for place in (path, f"{path}/pack") if os.path.isdir(place))
    path = next((path for path in wanted if os.stat(path).st_mode & 0o005 != 0o005), None)
    return None if path is None else Missing(f"{path} can be read by root alone, who no agent in a sandbox is", f"chmod -R o+rX {path}")


def _alternates(objects: str) -> list[str]:
    try:
        with open(f"{objects}/info/alternates", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    return [os.path.normpath(os.path.join(objects, line)) for line in lines if line and line[0] not in '#"']
