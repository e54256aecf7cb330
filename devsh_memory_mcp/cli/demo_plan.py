"""What the demonstration does: three scripts that read any repository side by side, a fourth that needs what they wrote."""

import subprocess
import tempfile
from pathlib import Path

from devsh_memory_mcp.domain.requests import BatchRequest, BatchTask
from devsh_memory_mcp.errors import RepositoryUnusable

LINES = r"""# Count the lines of each kind of file in this repository
set -eu
mkdir -p devsh-demo
count() {
  git grep -I -c '' -- . ':!devsh-demo' | awk -F: '{
    lines = $NF; name = $0; sub(/:[0-9]+$/, "", name); sub(/.*\//, "", name)
    if (!sub(/.*\./, "", name)) name = "other"
    total[name] += lines; files[name]++
  } END { for (name in total) printf "%7d lines in %4d files of %s\n", total[name], files[name], name }' | sort -rn | head -n 8
}
{ echo "## Lines"; echo; count | sed 's/^/    /'; } > devsh-demo/lines.md
sleep 1.5   # long enough for you to see the three side by side
count | head -n 1 | tr -s ' '
"""

TODO = r"""# Find what was left to do: every TODO and FIXME note
set -eu
mkdir -p devsh-demo
{ git grep -nIE 'TODO|FIXME' -- . ':!devsh-demo' || true; } | cut -c 1-160 > found.tmp
number=$(wc -l < found.tmp | tr -d ' ')
{ echo "## Left to do: $number"; echo; head -n 20 found.tmp | sed 's/^/    /'; } > devsh-demo/todo.md
rm found.tmp
sleep 1
echo "$number TODO and FIXME notes"
"""

HISTORY = r"""# Read the history: who wrote it, what changes most often
set -eu
mkdir -p devsh-demo
commits=$(git rev-list --count HEAD)
{
  echo "## History, commits: $commits"; echo
  git log -n 500 --format=%an | sort | uniq -c | sort -rn | head -n 5 | sed 's/^/    /'
  echo; echo "Changed most often:"; echo
  git log -n 500 --format= --name-only | grep . | sort | uniq -c | sort -rn | head -n 5 | sed 's/^/    /' || true
} > devsh-demo/history.md
sleep 2
echo "commits: $commits, authors: $(git log -n 500 --format=%an | sort -u | wc -l | tr -d ' ')"
"""

REPORT = r"""# Put the three together in one report on this repository
set -eu
for part in lines todo history; do
  test -s "devsh-demo/$part.md" || { echo "devsh-demo/$part.md has not arrived: the other agents' work is missing" >&2; exit 1; }
done
{ echo "# This repository"; for part in lines todo history; do echo; cat "devsh-demo/$part.md"; done; } > devsh-demo/report.md
cat devsh-demo/report.md
echo
echo "All three parts have arrived."
"""

PLAN = BatchRequest(
    tasks=(
        BatchTask(id="lines", prompt=LINES, agent_name="shell/bash"),
        BatchTask(id="todo", prompt=TODO, agent_name="shell/bash"),
        BatchTask(id="history", prompt=HISTORY, agent_name="shell/bash"),
        BatchTask(id="report", prompt=REPORT, agent_name="shell/bash", depends_on=("lines", "todo", "history")),
    )
)


def choose_repository(here: Path, *, in_place: bool) -> tuple[Path, str]:
    """Where the demonstration works, and what that is in words.

    In place: where it was called, RepositoryUnusable outside a repository. Else a temporary clone of it, of this program's own
    checkout, or of a small one made for the purpose.
    """
    if in_place:
        if _top(here) is None:
            raise RepositoryUnusable(f"{here} is not in a git repository with a commit.", next_step="Leave out --here: it makes one.")
        return here, f"in {here}"
    target = Path(tempfile.mkdtemp(prefix="devsh-demo-"))
    source = _top(here) or _top(Path(__file__).parent)
    if source is None:
        _make(target / "repository")
        return target / "repository", "on a small repository made for this"
    _git(target, "clone", "--quiet", str(source), source.name)
    return target / source.name, f"on a clone of {source}"


def _top(directory: Path) -> Path | None:
    """The work tree that the directory is in, None where there is none or where it has no commit."""
    found = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", "--show-toplevel", "HEAD"], cwd=directory, capture_output=True, check=False
    )
    path = found.stdout.decode(errors="replace").partition("\n")[0]
    return Path(path) if found.returncode == 0 and path.startswith("/") else None


def _make(directory: Path) -> None:
    (directory / "src").mkdir(parents=True)
    (directory / "README.md").write_text("# A small repository\n\nTODO: say what it is for\n")
    (directory / "src" / "hello.py").write_text('def hello(name):\n    # FIXME: what about no name?\n    return f"Hello, {name}"\n')
    _git(directory, "init", "--quiet", "--initial-branch=main")
    _git(directory, "add", "--all")
    _git(directory, "-c", "user.name=devsh demo", "-c", "user.email=devsh@localhost", "commit", "--quiet", "--message=A beginning")


def _git(directory: Path, *words: str) -> None:
    done = subprocess.run(["git", *words], cwd=directory, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise RepositoryUnusable(f"git {words[0]} failed in {directory}: {said[:300]}")
