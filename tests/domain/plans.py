"""States for tests, made as journals make them: event by event."""

from datetime import datetime

from devsh_memory_mcp.domain import events
from devsh_memory_mcp.domain.records import TaskSpec
from devsh_memory_mcp.domain.state import State
from tests.doubles.clock import START


class Plan:
    def __init__(self) -> None:
        self.state = State()
        self.now = START
        self.tell(events.OrchestrationCreated(orchestration_id="orch_1"))

    def tell(self, event: events.Event, at: datetime | None = None) -> None:
        self.state.apply(self.state.seq + 1, at or self.now, event)

    def spawn(self, name: str, *depends_on: str, **spec: object) -> None:
        whole = TaskSpec.model_validate({"prompt": f"Do {name}.", "agent_name": "a/b", "depends_on": depends_on, **spec})
        self.tell(
            events.AgentSpawned(orchestration_task_id=name, task_run_id=f"tr_{name}", id=f"plan-{name}", agent_name="a/b", spec=whole)
        )

    def start(self, name: str, attempt: int = 1) -> None:
        self.tell(events.AttemptStarted(orchestration_task_id=name, task_run_id=f"tr_{name}", attempt=attempt))

    def end_attempt(self, name: str, attempt: int = 1) -> None:
        self.tell(events.AttemptEnded(orchestration_task_id=name, task_run_id=f"tr_{name}", attempt=attempt, reason="exit"))

    def complete(self, name: str) -> None:
        self.start(name)
        self.end_attempt(name)
        self.tell(events.AgentCompleted(orchestration_task_id=name, result="ok"))

    def fail(self, name: str) -> None:
        self.start(name)
        self.end_attempt(name)
        self.tell(events.AgentFailed(orchestration_task_id=name, reason="exit", error_message="no"))

    def cancel(self, name: str) -> None:
        self.tell(events.AgentCancelled(orchestration_task_id=name))
