"""What an attempt's commands may use: the shapes of what is asked for and of what is in force, and how a process puts itself under it."""

import resource
import typing

from devsh_memory_mcp.shim.sandbox import PROCESSES


class Limits(typing.NamedTuple):
    """What is asked for: bytes, processors (0.5 is half of one), processes with their threads, bytes on the disk. Where it is not
    `required`, what cannot be kept is told and the agent runs all the same.
    """

    memory: int | None = None
    cpus: float | None = None
    processes: int = PROCESSES
    required: bool = False
    disk: int | None = None


class InForce(typing.NamedTuple):
    """What is kept: of the whole agent, `memory_each` of each of its processes alone; None where nothing is. `by` says how."""

    memory: int | None = None
    memory_each: int | None = None
    cpus: float | None = None
    processes: int | None = None
    by: str = ""
    disk: int | None = None


class Bounds(typing.NamedTuple):
    """What a command does to itself before it begins: doors of groups to go through, and the rlimits of its data and of its files."""

    doors: tuple[str, ...] = ()
    data: int | None = None
    file: int | None = None


def submit(bounds: Bounds) -> None:
    """Puts this process, and whatever it becomes, under its bounds; OSError where one of them is not to be had."""
    for door in bounds.doors:
        with open(door, "wb", buffering=0) as file:
            file.write(b"0")
    if bounds.data is not None:
        # Not RLIMIT_AS: engines like V8 reserve far more than they use; of data, only what can be written counts.
        resource.setrlimit(resource.RLIMIT_DATA, lowered(resource.RLIMIT_DATA, bounds.data))
    if bounds.file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, lowered(resource.RLIMIT_FSIZE, bounds.file))


def lowered(kind: int, size: int) -> tuple[int, int]:
    """The rlimit of so many bytes, or what this process has where that is less."""
    _, most = resource.getrlimit(kind)
    value = size if most == resource.RLIM_INFINITY else min(size, most)
    return value, value


def size_words(size: int) -> str:
    """`2 GB` for 2 * 1024 ** 3, as --memory has it."""
    for unit, length in (("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if size >= length:
            return f"{size / length:.4g} {unit}"
    return f"{size} bytes"


def cpus_words(cpus: float) -> str:
    """`1 processor`, `0.5 processors`."""
    return f"{cpus:g} processor{'' if cpus == 1 else 's'}"


def in_words(limits: InForce) -> str:
    """What is in force, for a line of a page."""
    parts = [
        *([f"{size_words(limits.memory)} of memory"] if limits.memory else []),
        *([f"{size_words(limits.memory_each)} of memory a process"] if limits.memory_each else []),
        *([cpus_words(limits.cpus)] if limits.cpus else []),
        *([f"{limits.processes} processes"] if limits.processes else []),
        *([f"{size_words(limits.disk)} of disk"] if limits.disk else []),
    ]
    return f"{', '.join(parts)} ({limits.by})" if parts else "none"
