"""HEAD_AGENT_INSTRUCTIONS.md: what a head that was spawned as one is told, and the orchestration in whose directory it lies."""

from devsh_memory_mcp.domain.events import OrchestrationCreated
from devsh_memory_mcp.store.files import replace_file
from devsh_memory_mcp.store.root import Found, MemoryRoot

FILE = "HEAD_AGENT_INSTRUCTIONS.md"


def open_led(root: MemoryRoot, created: OrchestrationCreated) -> Found:
    """Makes sure that the orchestration is there, with its instructions. JournalBusy, and what making a file raises."""
    found = root.begin_led(created)
    path = found.directory / FILE
    content = text(found.created).encode(errors="replace")
    if not path.is_file() or path.read_bytes() != content:
        replace_file(path, content)
    return found


def text(created: OrchestrationCreated) -> str:
    """The page, for the head of that orchestration."""
    led = created.leadership
    code = (
        f"`{led.repository.name}`, as you found it"
        if led and led.repository
        else "no code: each in an empty directory, unless you name a `repo`"
    )
    on_exit = led.on_exit if led else None
    exits = {"keep": "go on when you end", "cancel": "are cancelled when you end"}.get(
        on_exit or "", "go on when you end, and end with you if you are cancelled"
    )
    return _PAGE.format(orchestration_id=created.orchestration_id, code=code, exits=exits)


_PAGE = """# You are the head of {orchestration_id}

You were spawned to coordinate: break the work down, hand the parts to agents of your own, and put together what they made. Your result
goes to whoever spawned you.

## What you have

- The MCP server `devsh-memory`: `spawn_agent`, `spawn_batch`, `wait_for_agent`, `get_agent_status`, `list_spawned_agents`, `send_message`,
  `get_my_messages`, `get_orchestration_summary`, `pull_orchestration_updates`, `cancel_agent`.
- At a shell the same: `devsh orchestrate spawn | status | wait | list | results | message | cancel`, each with `--help` and `--json`.
- `CMUX_ORCHESTRATION_ID` is {orchestration_id}; this directory shows it: PLAN.json, AGENTS.json, EVENTS.jsonl, kept current.

## How it goes

1. Plan. Parts that do not need each other can be worked on at the same time; `dependsOn` (`--depends-on`) is for those that do.
2. Spawn all of them before you wait. A prompt has to stand alone: an agent sees its prompt and its checkout, nothing else of yours.
   Your agents work on {code}. Each works on a branch of its own.
3. Wait once: `wait_for_agent` with `ids` and `mode: "any"`, or `devsh orchestrate wait ID`. Never poll. It returns early when
   somebody writes to you.
4. Collect. The branch of an agent that has completed comes into your checkout by itself, a moment after its end: `git merge dev/…`,
   as `devsh orchestrate results` and `wait_for_agent` name it. Look at what you merge, and test it.
5. End with a result that says what was done, by whom, and what is left. Commit what you merged: your own branch is published at your end.

## Bounds

Your agents {exits}. They spawn none themselves. What you were not allowed yourself, neither are they: the same walls, network and
limits hold. If something is refused, its message says what to do instead.
"""
