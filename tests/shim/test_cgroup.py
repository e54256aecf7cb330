"""Where groups are made on machines of many kinds, what they are given and how they go: on trees of files like the kernel's."""

from pathlib import Path

import pytest

from devsh_memory_mcp.agents.adapter import Verdict
from devsh_memory_mcp.errors import NoLimits
from devsh_memory_mcp.shim.bounds import InForce, Limits
from devsh_memory_mcp.shim.limits import Cage
from tests.doubles.cgroups import Cgroups

G = 1 << 30
ALL = ("memory", "cpu", "pids")
FAILED = Verdict(succeeded=False, result=None, error_message="exit code 2")


@pytest.fixture
def machine(tmp_path: Path) -> Cgroups:
    return Cgroups(tmp_path)


def cage(machine: Cgroups, **limits: object) -> Cage:
    return Cage(Limits(**({"memory": 2 * G, "cpus": 0.5} | limits)), "tr_1.1", None, machine)  # type: ignore[arg-type]


def content(directory: Path, *names: str) -> list[str]:
    return [(directory / "devsh-tr_1.1" / name).read_text(encoding="utf-8") for name in names]


def test_nothing_is_made_where_nothing_is_asked_for(machine: Cgroups) -> None:
    own = machine.mount("/a", 2, *ALL)
    made = cage(machine, memory=None, cpus=None)
    assert (made.make(), made.in_force, made.bounds.doors) == ((), None, ())
    assert [path for path in own.iterdir() if path.is_dir()] == []


def test_v2_makes_a_group_beside_our_own_which_has_processes_and_gives_it_the_limits(machine: Cgroups) -> None:
    own = machine.mount("/user.slice/app.scope", 2, *ALL)
    (own / "cgroup.procs").write_text("1\n", encoding="utf-8")
    made = cage(machine)
    assert made.make() == ()
    assert made.in_force == InForce(2 * G, None, 0.5, 4096, "cgroup v2")
    assert made.bounds == ((f"{own.parent}/devsh-tr_1.1/cgroup.procs",), None, None)
    assert content(own.parent, "memory.max", "memory.swap.max", "cpu.max", "pids.max") == [str(2 * G), "0", "50000 100000", "4096"]
    assert (own / "cgroup.subtree_control").read_text(encoding="utf-8") == ""
    assert made.remove()
    assert not (own.parent / "devsh-tr_1.1").exists()


def test_a_limit_of_disk_takes_no_group_and_stands_beside_those_that_do(machine: Cgroups) -> None:
    alone = cage(machine, memory=None, cpus=None, disk=G, required=True)
    assert (alone.make(), alone.in_force, alone.bounds) == ((), InForce(by="counting", disk=G), ((), None, G))
    machine.mount("/a", 2, *ALL)
    beside = cage(machine, disk=G)
    assert (beside.make(), beside.in_force) == ((), InForce(2 * G, None, 0.5, 4096, "cgroup v2 and counting", G))
    assert beside.bounds.file == G
    assert beside.remove()


def test_v2_below_our_own_where_that_hands_the_controllers_down(machine: Cgroups) -> None:
    own = machine.mount("/delegated", 2, *ALL)
    assert cage(machine).make() == ()
    assert content(own, "pids.max") == ["4096"]


def test_v1_below_our_own_a_controller_at_a_time(machine: Cgroups) -> None:
    memory, cpu = machine.mount("/box", 1, "memory"), machine.mount("/", 1, "cpu")
    made = cage(machine)
    assert made.make() == ()
    assert made.in_force == InForce(2 * G, None, 0.5, None, "cgroup v1")
    assert content(memory, "memory.limit_in_bytes") == [str(2 * G)]
    assert content(cpu, "cpu.cfs_period_us", "cpu.cfs_quota_us") == ["100000", "50000"]
    assert made.remove()
    assert not list(machine.root.glob("**/devsh-*"))


def test_what_v2_does_not_have_is_had_from_v1_and_what_neither_has_is_told(machine: Cgroups) -> None:
    machine.mount("/", 2, "pids")
    machine.mount("/box", 1, "memory")
    made = cage(machine)
    (told,) = made.make()
    assert made.in_force == InForce(2 * G, None, None, 4096, "cgroup v1 and cgroup v2")
    assert "Nothing here keeps it to 0.5 processors: no cgroups of cpu are in sight" in told
    assert "What gets it: " in told


@pytest.mark.parametrize("obstacle", ["none", "closed", "barred", "unknown"])
def test_without_groups_each_process_has_an_rlimit_and_a_required_limit_is_refused(machine: Cgroups, obstacle: str) -> None:
    if obstacle != "none":
        own = machine.mount("/a", 2, *(("pids",) if obstacle == "unknown" else ALL))
        machine.closed |= {str(own), str(own.parent)} if obstacle == "closed" else set()
        machine.barred = obstacle == "barred"
    made = cage(machine, cpus=None)
    (told,) = made.make()
    assert (made.bounds.data, made.in_force and made.in_force.memory, made.in_force and made.in_force.memory_each) == (2 * G, None, 2 * G)
    assert "Nothing here keeps it to 2 GB of memory (only each process alone): " in told
    with pytest.raises(NoLimits) as refused:
        cage(machine, cpus=None, required=True).make()
    assert refused.value.next_step.startswith("What gets it: ")
    made.remove()
    assert not list(machine.root.glob("**/devsh-*"))


@pytest.mark.parametrize(
    ("version", "files", "is_oom"),
    [
        (2, {"memory.events": "max 31\noom 1\noom_kill 1\n"}, True),
        (2, {"memory.events": "max 31\noom 0\noom_kill 0\n"}, False),
        (2, {"memory.events": "max 0\noom 0\noom_kill 1\n"}, False),  # the machine had none left
        (2, {"memory.events": "max 31\noom 0\noom_kill 1\n"}, False),  # the same, after it had met its own limit and got by
        (1, {"memory.oom_control": "under_oom 0\noom_kill 1\n", "memory.max_usage_in_bytes": str(2 * G)}, True),
        (1, {"memory.oom_control": "under_oom 0\noom_kill 1\n", "memory.max_usage_in_bytes": str(G)}, False),
        (1, {"memory.oom_control": "under_oom 0\noom_kill 0\n", "memory.max_usage_in_bytes": str(2 * G)}, False),
    ],
)
def test_oom_is_claimed_only_where_the_kernel_counted_it(machine: Cgroups, version: int, files: dict[str, str], is_oom: bool) -> None:
    own = machine.mount("/", version, "memory")
    made = cage(machine, cpus=None)
    made.make()
    for name, text in files.items():
        (own / "devsh-tr_1.1" / name).write_text(text, encoding="utf-8")
    cause, verdict = made.judge("exit", FAILED, None)
    assert cause == ("oom" if is_oom else "exit")
    assert ("give it more with --memory" in (verdict.error_message or "")) == is_oom


def test_a_better_known_end_is_kept_and_the_kill_is_a_warning(machine: Cgroups) -> None:
    own = machine.mount("/", 2, "memory")
    made = cage(machine, cpus=None)
    made.make()
    (own / "devsh-tr_1.1/memory.events").write_text("max 9\noom 2\noom_kill 2\n", encoding="utf-8")
    limited, done = FAILED._replace(failure="rate_limit"), FAILED._replace(succeeded=True)
    for cause, verdict in (("exit", limited), ("exit", done), ("timeout", FAILED), ("cancelled", FAILED)):
        same, told = made.judge(cause, verdict, None)
        assert (same, told.error_message, told.failure) == (cause, verdict.error_message, verdict.failure)
        assert told.warnings == ("Of its processes some were ended, since together they used more than its 2 GB of memory.",)


def test_a_group_that_an_agent_made_inside_goes_too(machine: Cgroups) -> None:
    own = machine.mount("/", 2, *ALL)
    made = cage(machine)
    made.make()
    (own / "devsh-tr_1.1/nested").mkdir()
    assert made.remove()
    assert not (own / "devsh-tr_1.1").exists()
