"""The four patterns of orchestration as prompts, written for the model that leads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, GetPromptResult, Prompt, PromptArgument, PromptMessage, TextContent

GOAL = PromptArgument(name="goal", description="What is to be achieved. Default: what the conversation is about.")
AGENT = PromptArgument(name="agent", description="provider/model of the agents. Default: spawn_agent's.")
ROUNDS = PromptArgument(name="rounds", description="At most so many reviews. Default: 3.")

_PIPELINE = """\
Let agents do this one after another, each on the work of the one before: {goal}

1. Cut it into steps that need each other's code, usually implement, test, review; look at the code first where you do not know it.
2. One spawn_batch{agent}: an id for each step, and dependsOn the step before it. A step starts by itself as soon as the one before has \
completed, in a checkout that has that one's branch, so do not wait in between. Each prompt stands alone: what this step is for, what \
the one before leaves (files, names), what it must not touch, how it can check itself, and what to report at the end.
3. One wait_for_agent with all ids, mode "all" and a long timeout. Say to the user what runs, and nothing more, until it answers.
4. Where a step failed, those behind it failed with it: read its errorMessage, mend the prompt, spawn that step and the following ones \
again.
5. The last step's branch has everybody's work: look at its diff, merge it alone, run the tests, and tell the user what was done.
"""

_FAN_OUT = """\
Let agents do this side by side: {goal}

1. Cut it into pieces that do not touch the same files, so that their branches merge without conflicts; what they share (an interface, a \
name) you settle now and write into every prompt that needs it. Few large pieces are better than many small ones.
2. One spawn_batch{agent} with an id for each piece and no dependsOn. Each prompt stands alone: the goal, the files, what others do at \
the same time and must not be touched, how to check it, what to report.
3. One wait_for_agent with all ids and mode "any". For each that has ended: read its result, look at git diff of its branch, merge it or \
spawn it again with a better prompt; then wait for the rest in the same way. A message for you ends the wait early: get_my_messages, \
answer, wait again.
4. When all are merged, run the whole project's tests once, and tell the user which pieces were done and which were not.
"""

_LEADER = """\
Lead a group of agents in this: {goal}

You plan, hand out, answer, review and merge; the code is written by your workers.
1. Look at the code and make a plan: tasks with an id, the files of each, and which of them need another's code first. Settle what they \
share, interfaces and names, yourself.
2. One spawn_batch{agent} with the whole plan, dependsOn only where one really needs another's code. Each prompt stands alone, and ends \
with: ask the head with send_message when a decision is not yours, report with send_message type "status" when something others need is \
there.
3. One wait_for_agent with all ids and mode "any", again and again until all have ended. It answers early for a message: read it with \
get_my_messages, decide, answer with send_message (replyTo), tell others whom it concerns, wait again.
4. Whoever has ended: read the result and the diff. Good: merge its branch. Not good: spawn a task with dependsOn on it that says what \
to change; it works on that one's branch.
5. At the end one more agent, shell/bash with the project's test command, dependsOn all whose branches count: it proves the merged \
whole. Then tell the user what was done, what is open, and what you decided.
"""

_REVIEW = """\
Have this done, and reviewed by another agent until it is good: {goal}

1. spawn_agent{agent} with the whole task, id (name) "work-1": goal, files, how to check it, what to report.
2. spawn_agent at once, name "review-1", dependsOn ["work-1"], if you can with another model: "Review the work of task work-1, which is \
in your checkout (its branch and diff are named below). Check for bugs, missing tests, security, and whether it does what was asked: … . \
Change nothing. End with APPROVED, or with CHANGES: and a numbered list of what must be changed and why."
3. wait_for_agent for "review-1". APPROVED: merge the branch of the work, not of the review. CHANGES: judge the list yourself, drop what \
is wrong, and spawn "work-2", dependsOn ["work-1"], with the task and the list; then "review-2" of it, and so on.
4. Stop after {rounds} reviews and tell the user what is still disputed. Never merge what no review has passed without saying so.
"""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One prompt: what it is called, what it takes, what it says."""

    name: str
    title: str
    about: str
    text: str
    arguments: tuple[PromptArgument, ...] = (GOAL, AGENT)

    def listed(self) -> Prompt:
        """As it is offered."""
        return Prompt(name=self.name, title=self.title, description=self.about, arguments=list(self.arguments))

    def rendered(self, given: Mapping[str, str]) -> GetPromptResult:
        """What the model reads. MCPError for an argument that it does not take."""
        known = {argument.name for argument in self.arguments}
        if unknown := sorted(given.keys() - known):
            raise MCPError(INVALID_PARAMS, f"{self.name} takes {', '.join(sorted(known))}, not {', '.join(unknown)[:100]}.")
        agent, rounds = given.get("agent", ""), given.get("rounds", "")
        # Claude Code deals out the words that were typed, one for each argument, and drops the rest.
        strays = (word for word, is_one in ((agent, "/" in agent), (rounds, rounds.isdecimal())) if not is_one)
        goal = " ".join(filter(None, (given.get("goal"), *strays)))
        text = self.text.format(
            goal=f"{goal} (where this is cut off, all that the user typed counts)" if goal else "what the user asked for here",
            agent=f" with agentName {agent}" if "/" in agent else "",
            rounds=rounds if rounds.isdecimal() else "3",
        )
        return GetPromptResult(description=self.about, messages=[PromptMessage(role="user", content=TextContent(type="text", text=text))])


def get_prompt(name: str, given: Mapping[str, str] | None) -> GetPromptResult:
    """The prompt of that name. MCPError where there is none."""
    pattern = next((pattern for pattern in PATTERNS if pattern.name == name), None)
    if pattern is None:
        raise unknown(name, (pattern.name for pattern in PATTERNS))
    return pattern.rendered(given or {})


def unknown(name: str, known: Iterable[str] = ()) -> MCPError:
    """The error of a name that no prompt has."""
    return MCPError(INVALID_PARAMS, f"There is no prompt {name[:80]!r}; there are {', '.join(known) or 'none for sub-agents'}.")


PATTERNS = (
    Pattern("sequential_pipeline", "Sequential pipeline", "Agents one after another, each on the work of the one before.", _PIPELINE),
    Pattern("parallel_fan_out", "Parallel fan-out", "Agents side by side on pieces that do not touch each other.", _FAN_OUT),
    Pattern("leader_worker", "Leader and workers", "You lead: plan, hand out, answer questions, review, merge.", _LEADER),
    Pattern("review_loop", "Review loop", "One agent works, another reviews, until it is good.", _REVIEW, (GOAL, AGENT, ROUNDS)),
)
