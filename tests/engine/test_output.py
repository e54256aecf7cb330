"""What agents print, as it is read while they run and afterwards."""

from tests.engine.house import ended, run_directory, shell


async def test_output_is_followed_in_whole_lines_and_the_last_one_shows_when_the_task_has_ended(house):
    gate = house.gate()
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(f"printf 'one\\ntw'; {gate.pass_through}; printf 'o\\nlast'"))
        texts = []
        async for text in orchestration.output(spawned.orchestration_task_id, follow=True):
            texts.append(text)
            gate.open()
        assert texts[0] == "one\n"
        assert "".join(texts) == "one\ntwo\nlast\n"


async def test_output_without_following_keeps_back_what_is_no_whole_line_yet(house):
    gate, said = house.gate(), house.pipe()
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(f"printf 'one\\ntw'; echo . > {said.path}; {gate.pass_through}"))
        await said.lines(1)
        now = "".join([text async for text in orchestration.output(spawned.orchestration_task_id)])
        assert now in ("", "one\n")  # it is on its way from the pipe to the file
        gate.open()
        await ended(orchestration, spawned.orchestration_task_id)
        assert "".join([text async for text in orchestration.output(spawned.orchestration_task_id)]) == "one\ntw\n"


async def test_what_was_printed_is_there_byte_by_byte_and_by_stream(house):
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(r"printf 'a\r\n\377\033[31m'; printf oh >&2"))
        await ended(orchestration, spawned.orchestration_task_id)
        printed = [each async for each in orchestration.printed(spawned.orchestration_task_id, follow=True)]
        assert b"".join(each.content for each in printed if not each.is_error) == b"a\r\n\xff\x1b[31m"
        assert b"".join(each.content for each in printed if each.is_error) == b"oh"


async def test_the_end_of_the_output_begins_with_a_whole_line(house):
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell("seq 100 120"))
        await ended(orchestration, spawned.orchestration_task_id)
        assert [text async for text in orchestration.output(spawned.orchestration_task_id, last=10)] == ["119\n120\n"]


async def test_a_pipe_in_the_place_of_the_output_stops_no_reader(house):
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell("echo one; rm ../stdout.log && mkfifo ../stdout.log; echo two >&2"))
        await ended(orchestration, spawned.orchestration_task_id)
        assert not (await run_directory(orchestration, spawned.orchestration_task_id) / "stdout.log").is_file()
        assert "".join([text async for text in orchestration.output(spawned.orchestration_task_id, follow=True)]) == "two\n"
