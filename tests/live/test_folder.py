import socket
import stat
import subprocess

import pytest

from chaos.live import folder as folders
from chaos.live.folder import claim, in_use
from chaos.live.ports import hold, number
from chaos.live.process import LiveError


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(folders, "EARLIER_RUN_ENDS_WITHIN", 0.05)


def test_a_folder_has_one_run_at_a_time(tmp_path, hurried):
    with claim(tmp_path / "data"):
        assert in_use(tmp_path / "data")
        refused = pytest.raises(LiveError, match=r"^the data folder .*/data is in use: choose another with --data$")
        with refused, claim(tmp_path / "data"):
            pytest.fail("two of them")
    assert not in_use(tmp_path / "data")
    with claim(tmp_path / "data"):
        pass


def test_a_folder_is_in_use_until_the_last_process_that_was_given_its_lock_has_ended(tmp_path, hurried):
    with claim(tmp_path) as folder:
        store = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, pass_fds=[folder.lock])
    assert in_use(tmp_path)
    with pytest.raises(LiveError, match="in use"), claim(tmp_path):
        pytest.fail("a store is still writing there")
    store.communicate()
    assert not in_use(tmp_path)


def test_an_earlier_run_that_is_ending_is_waited_for(tmp_path, monkeypatch):
    with claim(tmp_path) as folder:
        ending = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, pass_fds=[folder.lock])
    assert in_use(tmp_path)
    monkeypatch.setattr(folders.time, "sleep", lambda seconds: ending.communicate())  # it ends while it is waited for
    with claim(tmp_path):
        assert ending.returncode == 0


def test_fresh_takes_away_what_runs_left_there_and_nothing_else(tmp_path):
    for name in folders.OURS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "old").touch()
    (tmp_path / "thesis.odt").write_text("years of work")
    with claim(tmp_path, fresh=True):
        assert {path.name for path in tmp_path.iterdir()} == {"lock", "logs", "thesis.odt"}
        assert list((tmp_path / "logs").iterdir()) == []


def test_a_run_that_is_refused_the_folder_takes_nothing_away(tmp_path, hurried):
    with claim(tmp_path) as folder:
        kept = folder.password("bff_admin")
        with pytest.raises(LiveError), claim(tmp_path, fresh=True):
            pytest.fail("in use")
        assert folder.password("bff_admin") == kept


def test_passwords_are_made_once_and_nobody_else_can_read_them(tmp_path):
    with claim(tmp_path) as folder:
        made = [folder.password(name) for name in ("a", "b", "a")]
    with claim(tmp_path) as folder:
        assert [folder.password(name) for name in ("a", "b", "a")] == made
    assert made[0] == made[2] != made[1]
    assert stat.S_IMODE((tmp_path / "stores.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_is_one_line(tmp_path, place):
    (tmp_path / "file").touch()
    said = r"^the data folder \S+ cannot be used \([^)]+\): choose another with --data$"
    with pytest.raises(LiveError, match=said), claim(tmp_path / place):
        pytest.fail("it is a file")


def test_passwords_that_cannot_be_read_are_one_line(tmp_path):
    (tmp_path / "stores.json").write_text("{")
    with claim(tmp_path) as folder, pytest.raises(LiveError, match=r"stores\.json cannot be read: use --fresh"):
        folder.password("a")


def test_a_held_port_is_deaf_and_nobody_elses_but_its_server_may_have_it():
    with hold() as held:
        port = number(held)
        with pytest.raises(ConnectionRefusedError):
            dial(port)
        for _ in range(2):  # the server, and the one that takes its place
            with hold(port) as server:
                server.listen()
                with pytest.raises(OSError, match="in use"):
                    hold(port)
                dial(port)


def dial(port):

    socket.create_connection(("127.0.0.1", port), 1).close()
