import trio

from nurseries import listening, tell


async def test_facts_reach_every_listener_in_order_and_only_while_it_listens(autojump_clock):
    heard = []
    with listening(lambda fact: heard.append(("first", fact))):
        with listening(lambda fact: heard.append(("second", fact))):
            tell(1)
        tell(2)
    tell(3)
    assert heard == [("first", 1), ("second", 1), ("first", 2)]


def test_a_fact_told_outside_of_a_run_is_nobody_s():
    tell("nothing listens")


def test_what_is_told_outside_of_a_run_is_not_heard_by_a_listener_in_another_thread_s_run():
    heard = []

    async def main():
        with listening(heard.append):
            await trio.to_thread.run_sync(tell, "from a thread without a run")

    trio.run(main)
    assert heard == []


def test_two_runs_do_not_hear_each_other():
    heard = []

    async def other():
        tell("from another run")

    async def main():
        with listening(heard.append):
            await trio.to_thread.run_sync(trio.run, other)
            tell("from this one")

    trio.run(main)
    assert heard == ["from this one"]


async def test_a_listener_that_came_twice_hears_twice_and_leaves_once_at_a_time(autojump_clock):
    heard = []
    with listening(heard.append):
        with listening(heard.append):
            tell(1)
        tell(2)
    assert heard == [1, 1, 2]
