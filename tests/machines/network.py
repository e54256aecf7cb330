"""Two machines: network namespaces with a wire between them and no loopback, each with a home that the other one does not see."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
DEVSH = (sys.executable, "-c", "import sys; from devsh_memory_mcp.cli import main; sys.exit(main())")
MCP = (sys.executable, "-m", "devsh_memory_mcp")
_ALONE = 'mount -t tmpfs none "$1" && cd "$2" && shift 2 && exec "$@"'


class Machine:
    """One of the two."""

    def __init__(self, name: str, address: str, home: Path, others_home: Path) -> None:
        self.name, self.address, self.home, self._others_home = name, address, home, others_home
        home.mkdir()

    def environment(self, **more: str) -> dict[str, str]:
        """What a shell there has, and `more`."""
        config = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "A"}
        own = {"PATH": os.environ["PATH"], "HOME": str(self.home), "DEVSH_MEMORY_DIR": str(self.home / "memory"), "DEVSH_SANDBOX": "none"}
        return {**config, "GIT_COMMITTER_EMAIL": "a@example.org", **own, "PYTHONPATH": str(CHECKOUT), **more}

    def command(self, *words: str, where: Path | None = None) -> list[str]:
        """The command as it is typed there."""
        place = str(where or self.home)
        outer = ["ip", "netns", "exec", self.name, "unshare", "--mount", "--propagation", "private"]
        return [*outer, "sh", "-c", _ALONE, "sh", str(self._others_home), place, *words]

    def run(self, *words: str, where: Path | None = None, **more: str) -> str:
        """What it prints; CalledProcessError where it fails."""
        command = self.command(*words, where=where)
        ran = subprocess.run(command, env=self.environment(**more), capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0, f"{words}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    @contextlib.contextmanager
    def started(self, words: Sequence[str], until: str, env: Mapping[str, str] | None = None) -> Iterator[str]:
        """The command, which goes on beside; the line of it that has `until` in it."""
        pipe = subprocess.PIPE
        with subprocess.Popen(
            self.command(*words), env=self.environment(**(env or {})), stdout=pipe, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            try:
                said = []
                for line in process.stdout:
                    said.append(line)
                    if until in line:
                        break
                assert said, words
                assert until in said[-1], "".join(said)
                yield said[-1]
            finally:
                process.terminate()
                process.stdout.close()


@contextlib.contextmanager
def wired(directory: Path) -> Iterator[tuple[Machine, Machine]]:
    """Both machines, at a wire."""
    number = os.getpid()
    homes = directory / "first", directory / "second"
    machines = tuple(
        Machine(f"devsh{number}{side}", f"10.77.0.{place}", homes[place - 1], homes[2 - place]) for side, place in (("a", 1), ("b", 2))
    )
    first, second = machines
    made = []
    try:
        for machine in machines:
            _ip("netns", "add", machine.name)
            made.append(machine)
        ends = f"dv{number}a", f"dv{number}b"
        _ip("link", "add", ends[0], "netns", first.name, "type", "veth", "peer", "name", ends[1], "netns", second.name)
        for machine, end in zip(machines, ends, strict=True):
            _ip("-n", machine.name, "address", "add", f"{machine.address}/24", "dev", end)
            _ip("-n", machine.name, "link", "set", end, "up")
        yield first, second
    finally:
        for machine in made:
            _ip("netns", "del", machine.name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
