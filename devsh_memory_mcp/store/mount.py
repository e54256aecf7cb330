"""On which kind of file system a path lies: only on a local one can the kernel's locks be relied on."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from devsh_memory_mcp.errors import RemoteFileSystem

REMOTE = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "beegfs", "gfs2", "ocfs2", "glusterfs", "davfs", "ncpfs"}
)
LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuseblk"})  # a container's own layer and a local disk
ALLOW = "DEVSH_ALLOW_REMOTE_FS"
_MOUNTS = Path("/proc/self/mountinfo")


def demand_local(path: Path, environment: Mapping[str, str]) -> None:
    """RemoteFileSystem where `path` lies on a network file system and nobody has said that this is all right."""
    if environment.get(ALLOW) == "1" or not _MOUNTS.exists():
        return
    kind = kind_of(os.path.realpath(path), _MOUNTS.read_text(errors="surrogateescape"))
    if is_remote(kind):
        raise RemoteFileSystem(f"The memory root {path} lies on a file system of type {kind}, whose locks cannot be relied on.")


def is_remote(kind: str) -> bool:
    """Whether a type of file system may have its files changed by another machine."""
    return kind in REMOTE or (kind.startswith("fuse") and kind not in LOCAL_FUSE)


def kind_of(path: str, mountinfo: str) -> str:
    """The type of the file system that `path`, absolute and without links, lies on; empty where the table does not say."""
    best, kind = "", ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, types = before.split(" "), after.split(" ")
        if len(fields) < 5 or not types[0]:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4])
        holds = path == point or path.startswith(point.rstrip("/") + "/")
        if holds and len(point) >= len(best):  # of two mounts at one point the later covers the earlier
            best, kind = point, types[0]
    return kind
