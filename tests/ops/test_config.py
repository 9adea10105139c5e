import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bff.budgets import Budgets
from bff.cli.main import bff
from bff.config import LONGEST_URL, BadSetting, Bind, Pushed, Secret, bind, settings, variable
from bff.kept import IN_FILES, take_files
from bff.upstreams.services import SERVICES
from bff.wire.limits import Limits

GOOD = {
    "BFF_POSTGRES_URL": "postgresql://bff:hush@127.0.0.1/bff",
    "BFF_REDIS_SESSION_URL": "redis://127.0.0.1:6379",
    "BFF_REDIS_CACHE_URL": "redis://127.0.0.1:6380",
    **{variable(service): "http://127.0.0.1:9200" for service in SERVICES},
}


def test_the_defaults_are_the_contract_s():
    told = settings(GOOD, SERVICES)
    assert told.edge == Bind("127.0.0.1", 8080)
    assert told.ops == Bind("127.0.0.1", 9090)
    assert (told.rates.requests, told.rates.streams, told.rates.passwords) == (50, 1, 5)
    assert told.upstreams["lock-integration"] == "http://127.0.0.1:9200"


def test_as_many_streams_as_may_be_open_leave_connections_for_everything_else():
    told = settings(GOOD, SERVICES)
    assert told.streams + 4_096 <= Limits().connections
    assert settings({**GOOD, "BFF_STREAMS": "500"}, SERVICES).streams == 500
    assert settings({**GOOD, "BFF_RATE_STREAMS": "0"}, SERVICES).rates.streams == 0
    given = {**GOOD, "BFF_BUDGET_INSTANCES": "3", "BFF_BUDGET_EGRESS": "5000000"}
    assert settings(given, SERVICES).budgets == Budgets(instances=3, egress=5_000_000)
    assert settings(GOOD, SERVICES).budgets == Budgets(0, 0)


def test_a_platform_s_port_is_every_address_and_a_bind_wins_over_it():
    assert settings({**GOOD, "PORT": "8888"}, SERVICES).edge == Bind("0.0.0.0", 8888)
    assert settings({**GOOD, "PORT": "8888", "BFF_EDGE_BIND": "[::1]:1"}, SERVICES).edge == Bind("::1", 1)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BFF_EDGE_BIND", "8080", "HOST:PORT"),
        ("BFF_BUDGET_INSTANCES", "-1", "whole number"),
        ("BFF_BUDGET_EGRESS", "1GB", "whole number"),
        ("BFF_EDGE_BIND", "127.0.0.1:70000", "HOST:PORT"),
        ("PORT", "http", "HOST:PORT"),
        ("BFF_OPS_BIND", "0.0.0.0:9090", "BFF_OPS_TOKEN"),
        ("BFF_POSTGRES_URL", "", "not set"),
        ("BFF_POSTGRES_URL", "mysql://x", "postgresql://"),
        ("BFF_REDIS_CACHE_URL", "localhost", "redis://"),
        ("BFF_UPSTREAM_IAM_URL", "", "BFF_UPSTREAM_IAM_URL"),
        ("BFF_UPSTREAM_IAM_URL", "ftp://x", "http"),
        ("BFF_UPSTREAM_IAM_URL", "http://x:99999", "BFF_UPSTREAM_IAM_URL"),
        ("BFF_UPSTREAM_AI_ORCHESTRATOR_URL", "http://x/path", "without a path"),
        ("BFF_TLS_CERT", "cert.pem", "go together"),
        ("BFF_RATE_REQUESTS", "many", "BFF_RATE_REQUESTS"),
        ("BFF_RATE_REQUESTS", "nan", "BFF_RATE_REQUESTS"),
        ("BFF_RATE_STREAMS", "-1", "BFF_RATE_STREAMS"),
        ("BFF_STREAMS", "0", "from 1 to"),
        ("BFF_STREAMS", "1.5", "from 1 to"),
        ("BFF_STREAMS", "\u00b2", "from 1 to"),
        ("BFF_TRUSTED_PROXIES", "10.0.0.0/99", "BFF_TRUSTED_PROXIES"),
        ("BFF_PUBLIC_ORIGIN", "desk.example", "BFF_PUBLIC_ORIGIN"),
        ("BFF_PUSH_AUDIENCE", "https://desks.example/internal/events", "all three, or none"),
        ("BFF_PUSH_KEYS_URL", "https://www.example/certs", "all three, or none"),
        ("BFF_PUSH_ACCOUNT", "pusher@desks.example", "all three, or none"),
    ],
)
def test_a_variable_that_cannot_be_used_is_one_line_that_says_what_to_do(name, value, words):
    with pytest.raises(BadSetting) as refused:
        settings({**GOOD, name: value}, SERVICES)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


PUSHED = {
    "BFF_PUSH_AUDIENCE": "https://desks.example/internal/events",
    "BFF_PUSH_KEYS_URL": "https://www.example/oauth2/v3/certs",
    "BFF_PUSH_ACCOUNT": "pusher@desks.iam.example",
}


def test_whose_push_is_believed_is_told_by_three_variables_together():
    assert settings(GOOD, SERVICES).push is None
    assert settings({**GOOD, **PUSHED}, SERVICES).push == Pushed(*PUSHED.values())
    here = settings({**GOOD, **PUSHED, "BFF_PUSH_KEYS_URL": "http://127.0.0.1:9100/certs"}, SERVICES)
    assert here.push.keys_url == "http://127.0.0.1:9100/certs"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BFF_PUSH_AUDIENCE", "two words", "the audience"),
        ("BFF_PUSH_AUDIENCE", "a" * 257, "the audience"),
        ("BFF_PUSH_ACCOUNT", "pusher", "the service account"),
        ("BFF_PUSH_ACCOUNT", "pusher@one@two", "the service account"),
        ("BFF_PUSH_KEYS_URL", "http://www.example/certs", "https://"),
        ("BFF_PUSH_KEYS_URL", "/certs", "HOST"),
        ("BFF_PUSH_KEYS_URL", "https://www.example:99999/certs", "BFF_PUSH_KEYS_URL"),
    ],
)
def test_what_cannot_say_whose_push_is_believed_is_one_line_that_names_it(name, value, words):
    with pytest.raises(BadSetting) as refused:
        settings({**GOOD, **PUSHED, name: value}, SERVICES)
    assert name in str(refused.value) and words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_bad_url_s_password_is_not_in_the_message():
    with pytest.raises(BadSetting) as refused:
        settings({**GOOD, "BFF_POSTGRES_URL": "mysql://bff:hush@h"}, SERVICES)
    assert "hush" not in str(refused.value)


def test_a_certificate_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadSetting, match="no such file"):
        settings({**GOOD, "BFF_TLS_CERT": str(tmp_path / "c"), "BFF_TLS_KEY": str(tmp_path / "k")}, SERVICES)


@pytest.mark.parametrize("name", IN_FILES)
def test_a_secret_may_be_kept_in_a_file_and_is_then_as_if_it_had_been_set(tmp_path, name):
    path = tmp_path / "secret"
    path.write_text("hush\n")
    env = {"OTHER": "stays", f"{name}_FILE": str(path)}
    take_files(env)
    assert env == {"OTHER": "stays", name: "hush"}
    take_files(env)
    assert env == {"OTHER": "stays", name: "hush"}, "a worker takes what its supervisor has taken"


@pytest.mark.parametrize("text", ["", "\n", "hush\nhush2\n", "h\u00fcsh", "hush\0", "hush" * LONGEST_URL])
def test_a_file_with_nothing_to_use_is_named_and_not_a_word_of_it_is_said(tmp_path, text):
    path = tmp_path / "secret"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadSetting, match="BFF_OPS_TOKEN_FILE") as refused:
        take_files({"BFF_OPS_TOKEN_FILE": str(path)})
    assert "hush" not in str(refused.value)


def test_a_file_that_is_not_there_and_a_secret_that_is_there_twice_are_refused(tmp_path):
    with pytest.raises(BadSetting, match="should be a file"):
        take_files({"BFF_OPS_TOKEN_FILE": str(tmp_path / "none")})
    with pytest.raises(BadSetting, match="both set"):
        take_files({"BFF_OPS_TOKEN_FILE": str(tmp_path / "none"), "BFF_OPS_TOKEN": "hush"})


def test_a_command_says_in_one_line_that_a_file_cannot_be_used(tmp_path):
    done = CliRunner().invoke(bff, ["migrate"], env={"BFF_POSTGRES_URL_FILE": str(tmp_path / "none")})
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("bff: BFF_POSTGRES_URL_FILE is ")


def test_a_server_may_be_told_all_its_secrets_by_files(tmp_path):
    secret = {**GOOD, "BFF_OPS_TOKEN": "hush", "BFF_INTERNAL_TOKEN": "hush hush"}
    kept = secret.keys() & set(IN_FILES)
    for name in kept:
        (tmp_path / name).write_text(f"{secret[name]}\n")
    env = {name: value for name, value in secret.items() if name not in kept}
    env |= {f"{name}_FILE": str(tmp_path / name) for name in kept}
    take_files(env)
    told = settings(env, SERVICES)
    assert told == settings(secret, SERVICES)
    assert len(kept) == len([one for one in told.__slots__ if isinstance(getattr(told, one), Secret)])


def test_a_secret_never_prints_itself():
    secret = Secret("hush")
    assert "hush" not in f"{secret} {secret!r} {[secret]}"
    assert secret == Secret("hush")


@given(st.text(max_size=30))
def test_any_text_is_a_bind_that_writes_itself_the_same_or_is_refused(text):
    try:
        told = bind(text)
    except ValueError:
        return
    assert bind(str(told)) == told
