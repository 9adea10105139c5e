import os
import signal
import sys
import textwrap

import pytest
import trio

from chaos.live.process import LiveError, descendants, spawn, state, stop_all

NAP = "import signal; signal.pause()"
FAMILY = (
    f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {NAP!r}]); print(p.pid, flush=True); p.wait()"
)
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"


def python(code, **how):
    return spawn([sys.executable, "-c", code], name="child", speaks=True, **how)


@pytest.fixture
def child_of():
    children = []

    def begun(code, **how):
        children.append(python(code, **how))
        return children[-1]

    yield begun
    for child in children:
        child.kill()
        child.process.stdout.close()


@pytest.mark.parametrize("frozen", [False, True])
def test_a_child_does_not_outlive_its_parent_however_that_ends(begin, frozen):
    code = f"""
        import sys
        from chaos.live.process import spawn
        child = spawn([sys.executable, "-c", {"print(flush=True); " + NAP!r}], name="child", speaks=True)
        child.process.stdout.readline()
        if {frozen}:
            child.freeze()
        print(child.pid, flush=True)
        child.process.wait()
    """
    parent = begin(sys.executable, "-c", textwrap.dedent(code))
    child = int(parent.line())
    family = parent.family()
    assert len(family) == 2
    parent.process.kill()
    assert family.wait(5) == [], child


def test_a_child_is_begun_on_the_main_thread_alone_because_its_leash_is_tied_to_the_thread():
    async def elsewhere():
        await trio.to_thread.run_sync(lambda: spawn(["/bin/true"], name="child"))

    with pytest.raises(RuntimeError, match="main thread"):
        trio.run(elsewhere)


def test_a_kill_takes_everything_below_with_it(child_of):
    parent = child_of(FAMILY)
    grandchild = int(parent.process.stdout.readline())
    assert descendants(parent.pid) == (grandchild,)
    descriptor = os.pidfd_open(grandchild)
    parent.kill()
    assert parent.process.returncode == -signal.SIGKILL
    with open(descriptor) as ended:  # its parent is gone: whoever adopted it waits for it
        assert trio.run(_readable, ended.fileno())


async def _readable(descriptor):
    with trio.move_on_after(5):
        await trio.lowlevel.wait_readable(descriptor)
        return True
    return False


def test_a_freeze_holds_all_of_the_tree_when_it_returns_and_a_thaw_lets_it_go_on(child_of):
    parent = child_of(FAMILY)
    grandchild = int(parent.process.stdout.readline())
    assert parent.freeze() == (parent.pid, grandchild)
    assert [state(parent.pid), state(grandchild)] == ["T", "T"]
    assert parent.alive
    parent.thaw()
    assert "T" not in {state(parent.pid), state(grandchild)}


def test_what_has_ended_is_neither_frozen_nor_killed_again(child_of):
    child = child_of("pass")
    child.process.wait()
    assert child.freeze() == ()
    child.thaw()
    child.kill()
    assert child.process.returncode == 0


def test_who_does_not_listen_is_killed_when_the_grace_is_over_and_named(child_of):
    deaf, frozen = child_of(DEAF), child_of(NAP)
    assert deaf.process.stdout.readline() == b"deaf\n"
    frozen.freeze()
    assert stop_all([deaf, frozen], 0.3) == ("child",)
    assert deaf.process.returncode == -signal.SIGKILL
    assert frozen.process.returncode == -signal.SIGTERM  # thawed, so that it could hear


async def test_its_end_is_waited_for_without_holding_up_anybody_and_told_with_its_code(child_of):
    child = child_of("import sys; sys.stdin.read(); sys.exit(3)")
    assert await child.ended() == 3
    assert await child.ended() == 3


def test_why_it_ended_is_its_last_word_and_never_an_earlier_ones(tmp_path):
    log = tmp_path / "log"
    spawn([sys.executable, "-c", "import sys; sys.exit('no such luck')"], name="first", log=log).process.wait()
    silent = spawn([sys.executable, "-c", "import sys; sys.exit(7)"], name="second", log=log)
    silent.process.wait()
    assert silent.why() == "return code 7"
    loud = spawn([sys.executable, "-c", "print('FATAL:  no room'); print('closed')"], name="third", log=log)
    loud.process.wait()
    assert loud.why() == "no room"


def test_a_program_that_is_not_there_ends_its_child_at_once(tmp_path):
    child = spawn(["/no/such/program"], name="nobody", log=tmp_path / "log")
    assert child.process.wait() == 1
    assert "FileNotFoundError" in child.why()


def test_a_child_whose_folder_is_gone_is_one_line(tmp_path):
    with pytest.raises(LiveError, match="nobody cannot be started"):
        spawn(["/bin/true"], name="nobody", cwd=tmp_path / "gone")
