import json

import pytest


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"tasks": []}, "tasks: needs at least 1."),
        ({"tasks": [{"id": "a", "prompt": "p", "prTitle": "x" * 301}]}, "tasks.0.prTitle: has more than 300 characters."),
        ({"tasks": [{"id": "a", "prompt": ""}]}, "tasks.0.prompt: is empty."),
        ({"tasks": [{"id": "a"}]}, "tasks.0.prompt: is missing."),
        ({"tasks": [{"id": "a", "prompt": "p", "priority": 11}]}, "tasks.0.priority: is at most 10."),
        ({"tasks": [{"id": "a", "prompt": "p", "keeps": True}]}, "tasks.0.keeps: this key is not known, did you mean keep?"),
    ],
)
def test_what_is_wrong_with_a_batch_is_told_in_one_line_of_words(devsh, tmp_path, plan, words):
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan))
    said = devsh("orchestrate", "spawn-batch", file)
    assert said.code == 2
    assert said.err.splitlines() == [f"devsh: {words}"]


@pytest.mark.parametrize(("leads", "identity"), [("", "tr_1"), ("1", "head")])
def test_the_environment_says_whose_agent_calls(devsh, leads, identity):
    devsh("orchestrate", "list", environment={"CMUX_TASK_RUN_ID": "tr_1", "CMUX_IS_ORCHESTRATION_HEAD": leads})
    assert devsh.world.opened[1].identity == identity
