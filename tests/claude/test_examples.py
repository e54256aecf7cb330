"""The examples with Claude Code run as they are, side by side; what their agents say is scripted."""

import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.claude.head import ALL, bash, ours
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Tool, Turn
from tests.examples.conftest import Ran, Terminal

EXAMPLES = Path(__file__).parents[2] / "examples" / "claude"
FIRST = ALL.replace("each", "all")
CALLS = {
    "sequential_pipeline.sh": ("Let people log in",),
    "fan_out.sh": ("auth.ts", "api.ts"),
    "review_loop.sh": ("Let people pay",),
    "leader_worker.sh": ("Users have roles",),
}


class Examples:
    """Each script in a repository of its own."""

    def __init__(self, typist: Terminal) -> None:
        self._typist = typist

    def run_all(self) -> list[Ran]:
        with ThreadPoolExecutor() as pool:
            return list(pool.map(self._run, CALLS))

    def _run(self, script: str) -> Ran:
        call = shlex.join([str(EXAMPLES / script), *CALLS[script]])
        ran = self._typist.run(f"git clone -q . ../{script} && cd ../{script} && {call}")
        assert ran.code == 0, f"{script}: {ran.err}{ran.out}"
        return ran

    def after(self, script: str, command: str) -> list[str]:
        """What a command in its repository prints, word for word."""
        ran = self._typist.run(f"cd ../{script} && {command}")
        assert ran.code == 0, f"{script}: {ran.err}{ran.out}"
        return ran.out.split()


@pytest.fixture
def examples(typist: Terminal) -> Examples:
    if shutil.which("jq") is None:
        pytest.skip("one of these examples uses jq, which is not installed here")
    return Examples(typist)


def writes(path: str, said: str) -> tuple[Turn, ...]:
    """An agent that writes a file and says something."""
    return Turn("", [Tool("Write", {"file_path": path, "content": f"{path}\n"})]), Turn(said)


def script_pipeline(api: ModelApi) -> None:
    review = Turn("", [bash("cat login.ts login.test.ts")], expect="Tested it."), Turn("I have read {{result:login.test.ts}}.")
    api.route("Review the implementation", *review)
    api.route("Write tests for what", *writes("login.test.ts", "Tested it."))
    api.route("Let people log in", *writes("login.ts", "Built it."))


def script_fan_out(api: ModelApi) -> None:
    for file in CALLS["fan_out.sh"]:
        api.route(f"bugs in {file}", *writes(f"{file}.test", f"Mended {file}."))


def script_review_loop(api: ModelApi) -> None:
    api.route("(?s)Built it.*Review the changes from task", Turn("pay.ts has no test.\nREJECTED"))
    api.route("(?s)Tested it.*Review the changes from task", Turn("It has one now.\nACCEPTED"))
    again = (turn._replace(expect="pay.ts has no test") for turn in writes("pay.test.ts", "Tested it."))
    api.route("Let people pay", *writes("pay.ts", "Built it."), *again)


def script_leader(api: ModelApi) -> None:
    parts = ("model", "middleware")
    for part in parts:
        api.route(f"Implement the {part}", *writes(f"{part}.ts", f"The {part} is there."))
    api.route(
        "You lead a team",
        Turn("I read the code.", [bash("git ls-files")], expect="Users have roles"),
        Turn("Two parts.", [ours("spawn_agent", prompt=f"Implement the {part} of roles.", agentName="claude/haiku") for part in parts]),
        Turn("", [ours("wait_for_agent", ids=ALL)]),
        Turn("", [bash(f"devsh orchestrate diff {FIRST} --stat")], expect="The middleware is there."),
        Turn("", [bash(f"devsh orchestrate merge {ALL}")], expect="1 file changed"),
        Turn("Roles are there.", expect="merged into main"),
    )


def test_each_example_does_what_it_says(examples: Examples, model_api: ModelApi) -> None:
    for script in (script_pipeline, script_fan_out, script_review_loop, script_leader):
        script(model_api)
    pipeline, fan_out, review_loop, leader = examples.run_all()

    assert "I have read login.test.ts." in pipeline.out
    models = [request.body["model"].split("-")[1] for request in model_api.turns("log in") if request.turn == 0]
    assert models == ["sonnet", "sonnet", "opus"]

    assert all(f"Mended {file}." in fan_out.out for file in CALLS["fan_out.sh"])
    assert "devsh orchestrate merge ns" in fan_out.out

    accepted, line = review_loop.out.splitlines()[-1].split(": ")
    assert accepted == "accepted in round 2"
    assert examples.after("review_loop.sh", f"{line} > /dev/null && ls") == ["README.txt", "pay.test.ts", "pay.ts"]

    assert leader.out == "Roles are there.\n"
    assert examples.after("leader_worker.sh", "ls && git status --porcelain") == ["README.txt", "middleware.ts", "model.ts"]


def test_no_example_is_forgotten() -> None:
    assert {path.name for path in EXAMPLES.glob("*.sh")} == CALLS.keys()
