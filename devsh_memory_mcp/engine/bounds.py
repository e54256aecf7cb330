"""Whether this machine can keep an agent to the limits that are asked for. It is tried out, since having cgroups says little.

A runner that was started somewhere else may find it otherwise: what was in force is told by each outcome.
"""

from devsh_memory_mcp.domain.records import TaskSpec
from devsh_memory_mcp.errors import NoLimits
from devsh_memory_mcp.shim.bounds import Limits
from devsh_memory_mcp.shim.cgroup import Files
from devsh_memory_mcp.shim.limits import Cage, in_a_warning

FILES = Files()


def limits_of(spec: TaskSpec) -> Limits | None:
    """What the shim is told; None where nothing was asked for."""
    if (spec.memory, spec.cpus, spec.disk) == (None, None, None):
        return None
    return Limits(spec.memory, spec.cpus, required=spec.sandbox == "required", disk=spec.disk)


def limit_warnings(spec: TaskSpec, files: Files = FILES) -> tuple[str, ...]:
    """What cannot be kept here; NoLimits where it has to be."""
    asked = limits_of(spec)
    if asked is None:
        return ()
    with Cage.on_trial(asked, files) as (_, missing):
        if missing is None:
            return ()
        if asked.required:
            raise NoLimits(missing.why, next_step=f"What gets it: {missing.remedy}. Without `--sandbox required` it is a warning.")
        return (in_a_warning(missing),)


def look(files: Files = FILES) -> tuple[bool, str, str | None]:
    """Whether all limits can be kept here, in words, and what gets the rest."""
    with Cage.on_trial(Limits(memory=1 << 30, cpus=1.0), files) as (kept, missing):
        parts = [*(["--memory"] if kept.memory else []), *(["--cpus"] if kept.cpus else [])]
        most = f", with {kept.processes} processes at most" if kept.processes else ""
        held = f"{' and '.join(parts)} hold{'s' * (len(parts) == 1)} for a whole agent{most} ({kept.by})" if parts else ""
        if missing is None:
            return True, held, None
        why = missing.why.partition(": ")[2].removesuffix(".")
        lost = [*([] if kept.memory else ["--memory holds each process alone"]), *([] if kept.cpus else ["--cpus is not kept"])]
        return False, "; ".join([*([held] if held else []), f"{', '.join(lost)}: {why}"]), missing.remedy
