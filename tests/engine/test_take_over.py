"""A runner that opens an orchestration while others ring for it."""

import anyio

from tests.engine.house import House, ended, events_of, shell


async def test_what_is_rung_for_while_it_is_taken_over_is_started_once(house: House) -> None:
    lent = {"ANTHROPIC_API_KEY": "a key, so that whoever connects has something to lend"}
    script = "echo once >> $DEVSH_MEMORY_DIR/ran"
    async with house.opened(environment={"PATH": "/usr/bin:/bin", **lent}) as orchestration:
        tasks = [(await orchestration.spawn(shell(script))).orchestration_task_id for _ in range(2)]
        await ended(orchestration, *tasks)
    for _ in range(6):
        house.end_runner()
        async with house.opened(environment={"PATH": "/usr/bin:/bin", **lent}) as orchestration, anyio.create_task_group() as rings:
            for _ in range(5):
                rings.start_soon(orchestration.site.link.ring, orchestration.orchestration_id)  # type: ignore[attr-defined]
            task = (await orchestration.spawn(shell(script))).orchestration_task_id
            answer = await ended(orchestration, task)
            tasks.append(task)
            assert answer.status == "completed", answer.error_message
    assert (house.root / "ran").read_text().splitlines() == ["once"] * len(tasks)
    starts = [event for event in events_of(orchestration) if event.name == "attempt_started"]
    assert len(starts) == len(tasks)
