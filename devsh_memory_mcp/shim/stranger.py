"""Who root's agent is: a user whom the machine does not know, and hardly ever the same one as another agent's.

Two that are the same could send each other signals, and read what the other holds.
"""

import zlib

# Where nobody gives ids away: above those of containers (systemd's end at 0x6fffffff, /etc/subuid's at 600 100 000) and of directories
# (SSSD's and FreeIPA's end at 2 000 200 000), below systemd's foreign ones (0x7ffe0000) and the sign bit, which some take for an error.
_FAR = 0x78000000, 1 << 26
# In a container's user namespace there are often the first 65536 ids alone: of those what neither Debian nor systemd has for anybody.
_NEAR = 60706, 478
_MAPS = "/proc/self/uid_map", "/proc/self/gid_map"


def stranger(task_run_id: str, maps: tuple[str, ...] = _MAPS) -> int:
    """The id of user and group for that run, always the same one."""
    first, count = _FAR if all(_holds(path, *_FAR) for path in maps) else _NEAR
    return first + zlib.crc32(task_run_id.encode()) % count


def _holds(path: str, first: int, count: int) -> bool:
    """Whether these ids are there for us; without user namespaces all are."""
    try:
        with open(path, encoding="ascii") as file:
            ranges = [tuple(map(int, line.split())) for line in file]
    except OSError:
        return True
    return any(begin <= first and first + count <= begin + length for begin, _, length in ranges)
