"""The engine with one rule of it broken, rule by rule; what is watched has to find each."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from devsh_memory_mcp.domain import schedule
from devsh_memory_mcp.domain.events import AgentFailed, Event
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.engine import attempts, desk, dispatch, endings, service, waiting

Patch = pytest.MonkeyPatch


async def nothing(*_arguments: Any) -> None: ...


def places_are_ignored(patch: Patch) -> None:
    patch.setattr(dispatch, "choose", lambda _state, ready, _now: list(ready))


def places_are_counted_too_early(patch: Patch) -> None:
    """Those that were free when it was decided, whoever lowered them since."""

    async def begin(self: Any, at: Any, task_ids: list[str]) -> None:
        def decide(state: State, now: datetime) -> Any:
            ready = dispatch.assess(state, now).ready
            return dispatch.start_attempts(state, task_ids, lambda task: task in ready)

        committed = await at.transact(decide)
        state = await at.journal.read()
        for task_id in committed.value:
            self._attempts.begin(at, state, state.tasks[task_id])
        self.wake(at.orchestration_id)

    patch.setattr(dispatch.Dispatcher, "_begin", begin)


def one_place_is_left_free(patch: Patch) -> None:
    real = dispatch.choose
    patch.setattr(dispatch, "choose", lambda state, ready, now: [] if schedule.live_count(state) else real(state, ready, now)[:1])


def dependencies_are_ignored(patch: Patch) -> None:
    real = schedule._obstacle

    def obstacle(*arguments: Any) -> str | None:
        found = real(*arguments)
        return None if found and found.startswith("dependencies") else found

    patch.setattr(schedule, "_obstacle", obstacle)


def waiting_gains_nothing(patch: Patch) -> None:
    patch.setattr(schedule, "AGEING", timedelta(days=999))


def the_newest_goes_first(patch: Patch) -> None:
    real = dispatch.choose
    patch.setattr(dispatch, "choose", lambda state, ready, now: real(state, tuple(sorted(ready, key=lambda t: -t.admitted))[:1], now))


def back_off_is_nothing(patch: Patch) -> None:
    patch.setattr(endings, "retry_delay", lambda _attempts, _jitter: timedelta(0))


def back_off_is_not_waited_for(patch: Patch) -> None:
    patch.setattr(schedule, "due_at", lambda _task, _now: None)


def back_off_is_overslept(patch: Patch) -> None:
    real = dispatch.assess
    patch.setattr(dispatch, "assess", lambda state, now: replace(real(state, now), wake_at=None))


def limits_are_run_into(patch: Patch) -> None:
    patch.setattr(schedule, "limited_until", lambda _limits, _spec, _now: None)


def there_is_always_another_try(patch: Patch) -> None:
    patch.setattr(endings, "_is_worth_another", lambda _task, _outcome: True)


def a_cancel_skips_one_dependent(patch: Patch) -> None:
    real = endings._descendants
    patch.setattr(endings, "_descendants", lambda state, task: real(state, task)[:-1])


def a_cancel_is_not_passed_on(patch: Patch) -> None:
    patch.setattr(attempts.Attempts, "cancel", nothing)


def a_deaf_shim_is_left_alone(patch: Patch) -> None:
    patch.setattr(attempts.Attempts, "_escalate", nothing)


def a_deadline_begins_anew_with_each_runner(patch: Patch) -> None:
    async def just_begun(*_arguments: Any) -> float:
        return 0.0

    patch.setattr(attempts.Attempts, "_worked", just_begun)


def a_dead_shim_is_not_heard(patch: Patch) -> None:
    patch.setattr(attempts.Attempts, "hear_end", lambda *_arguments: None)


def an_adopted_shim_that_died_is_not_missed(patch: Patch) -> None:
    patch.setattr(attempts.Attempts, "_expect", nothing)


def _with_after(patch: Patch, change: Callable[[Task, list[Event]], list[Event]]) -> None:
    real = endings._after

    def after(state: State, now: datetime, task: Task, *more: Any, **named: Any) -> Iterator[Event]:
        yield from change(task, list(real(state, now, task, *more, **named)))

    patch.setattr(endings, "_after", after)


def an_end_is_taken_back(patch: Patch) -> None:
    _with_after(
        patch,
        lambda task, events: [
            *events,
            *(
                AgentFailed(orchestration_task_id=task.orchestration_task_id, reason="exit")
                for event in events
                if event.name == "agent_completed"
            ),
        ],
    )


def a_failure_stays_alone(patch: Patch) -> None:
    patch.setattr(endings, "_cascade", lambda *_arguments: iter(()))
    patch.setattr(dispatch.Dispatcher, "_settle", nothing)


def a_replaced_runner_goes_on(patch: Patch) -> None:
    patch.setattr(desk.Desk, "transact", lambda self, decide: self.journal.transact(decide))


def followers_are_not_told(patch: Patch) -> None:
    real = dispatch.Dispatcher._tell

    async def tell(self: Any, at: Any) -> None:
        self._changed = nothing
        await real(self, at)

    patch.setattr(dispatch.Dispatcher, "_tell", tell)


def a_wait_for_one_waits_for_all(patch: Patch) -> None:
    patch.setattr(waiting.Wait, "is_over", lambda self, state: all(task.is_terminal for task in self.tasks(state)))


def a_wait_ends_too_early(patch: Patch) -> None:
    patch.setattr(waiting.Wait, "has_news", lambda self, state: any(task.is_terminal for task in self.tasks(state)))


def a_wait_has_no_end(patch: Patch) -> None:
    async def patient(site: Any, request: Any, *more: Any) -> Any:
        longer = request.model_copy(update={"timeout": request.timeout * 3 + 1000 * (request.timeout > 0)})
        return await waiting.wait_for(site, longer, *more)

    patch.setattr(service, "wait_for", patient)


def messages_stay_where_they_are(patch: Patch) -> None:
    patch.setattr(dispatch, "letters_due", lambda _state, _attempt: [])


def receipts_are_told_twice(patch: Patch) -> None:
    real = desk.mark_read

    def mark(state: State, reader: str, ids: tuple[int, ...], via: str) -> Any:
        found = real(state, reader, ids, via)
        return replace(found, events=found.events * 2)

    patch.setattr(desk, "mark_read", mark)


def nothing_is_said_of_mail_to_the_dead(patch: Patch) -> None:
    patch.setattr(endings, "_undeliverable", lambda _state, _task: iter(()))


MUTANTS: dict[Callable[[Patch], None], set[str]] = {
    places_are_ignored: {"places"},
    places_are_counted_too_early: {"places"},
    one_place_is_left_free: {"idle"},
    dependencies_are_ignored: {"dependencies"},
    waiting_gains_nothing: {"order"},
    the_newest_goes_first: {"order"},
    back_off_is_nothing: {"back-off"},
    back_off_is_not_waited_for: {"back-off"},
    back_off_is_overslept: {"idle"},
    limits_are_run_into: {"limit"},
    there_is_always_another_try: {"retries"},
    a_cancel_skips_one_dependent: {"cancel", "doomed"},
    a_cancel_is_not_passed_on: {"cancel"},
    a_deaf_shim_is_left_alone: {"cancel", "timeout"},
    a_deadline_begins_anew_with_each_runner: {"timeout"},
    a_dead_shim_is_not_heard: {"stuck", "timeout"},
    an_adopted_shim_that_died_is_not_missed: {"stuck"},
    an_end_is_taken_back: {"final"},
    a_failure_stays_alone: {"doomed"},
    a_replaced_runner_goes_on: {"message", "once", "stuck"},
    followers_are_not_told: {"wait"},
    a_wait_for_one_waits_for_all: {"wait"},
    a_wait_ends_too_early: {"wait"},
    a_wait_has_no_end: {"wait"},
    messages_stay_where_they_are: {"message"},
    receipts_are_told_twice: {"message"},
    nothing_is_said_of_mail_to_the_dead: {"message"},
}
