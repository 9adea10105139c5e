import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.config import BadSetting, Bind, Secret, bind, settings, variable
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


def test_a_platform_s_port_is_every_address_and_a_bind_wins_over_it():
    assert settings({**GOOD, "PORT": "8888"}, SERVICES).edge == Bind("0.0.0.0", 8888)
    assert settings({**GOOD, "PORT": "8888", "BFF_EDGE_BIND": "[::1]:1"}, SERVICES).edge == Bind("::1", 1)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BFF_EDGE_BIND", "8080", "HOST:PORT"),
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
    ],
)
def test_a_variable_that_cannot_be_used_is_one_line_that_says_what_to_do(name, value, words):
    with pytest.raises(BadSetting) as refused:
        settings({**GOOD, name: value}, SERVICES)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_bad_url_s_password_is_not_in_the_message():
    with pytest.raises(BadSetting) as refused:
        settings({**GOOD, "BFF_POSTGRES_URL": "mysql://bff:hush@h"}, SERVICES)
    assert "hush" not in str(refused.value)


def test_a_certificate_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadSetting, match="no such file"):
        settings({**GOOD, "BFF_TLS_CERT": str(tmp_path / "c"), "BFF_TLS_KEY": str(tmp_path / "k")}, SERVICES)


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
