"""Who asks and by which name: what a proxy says counts only where the proxy is trusted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.gate.forwarded import Front, counted, make_front
from bff.wire.asgi import Request

PROXIES = ("10.0.0.0/8", "fd00::/8")


def request(client, *headers, host="inside.example:8080", scheme="http"):
    raw = tuple((name.encode(), value.encode("latin-1")) for name, value in headers)
    return Request("GET", "/", "", ((b"host", host.encode()), *raw), scheme, client)


def test_with_nobody_in_front_the_listener_and_host_are_the_name():
    asked = request("192.0.2.1", ("x-forwarded-proto", "https"), ("x-forwarded-host", "evil.example"))
    assert Front().origin(asked) == "http://inside.example:8080"
    assert Front().address(request("192.0.2.1", ("x-forwarded-for", "198.51.100.7"))) == "192.0.2.1"


def test_what_an_untrusted_peer_forwards_counts_for_nothing():
    asked = request("192.0.2.1", ("x-forwarded-proto", "https"), ("x-forwarded-for", "198.51.100.7"))
    front = make_front(None, PROXIES)
    assert (front.origin(asked), front.address(asked)) == ("http://inside.example:8080", "192.0.2.1")


def test_a_trusted_proxy_says_scheme_and_host():
    asked = request("10.1.2.3", ("x-forwarded-proto", "HTTPS"), ("x-forwarded-host", "desk.example"))
    assert make_front(None, PROXIES).origin(asked) == "https://desk.example"


def test_the_public_origin_outranks_whatever_anybody_says():
    front = make_front("https://backoffice.example", PROXIES)
    asked = request("10.1.2.3", ("x-forwarded-proto", "http"), ("x-forwarded-host", "evil.example"))
    assert front.origin(asked) == "https://backoffice.example"


def test_of_several_values_the_nearest_proxy_s_counts():
    asked = request(
        "10.1.2.3",
        ("x-forwarded-proto", "http, https"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-host", "desk.example"),
    )
    assert make_front(None, PROXIES).origin(asked) == "https://desk.example"


@pytest.mark.parametrize(
    "header", [("x-forwarded-proto", "gopher"), ("x-forwarded-host", "a/../b"), ("forwarded", "proto=https;host=x")]
)
def test_what_is_no_scheme_or_host_or_another_family_is_passed_over(header):
    assert make_front(None, PROXIES).origin(request("10.1.2.3", header)) == "http://inside.example:8080"


@pytest.mark.parametrize(
    ("client", "chain", "found"),
    [
        ("10.1.2.3", "198.51.100.7", "198.51.100.7"),
        ("10.1.2.3", "203.0.113.5, 198.51.100.7", "198.51.100.7"),  # the first was written by whoever asked
        ("10.1.2.3", "198.51.100.7, 10.9.9.9", "198.51.100.7"),
        ("10.1.2.3", "10.8.8.8, 10.9.9.9", "10.8.8.8"),
        ("10.1.2.3", "", "10.1.2.3"),
        ("10.1.2.3", "198.51.100.7, rubbish", "10.1.2.3"),
        ("10.1.2.3", "198.51.100.7, rubbish, 10.9.9.9", "10.9.9.9"),
        ("10.1.2.3", "198.51.100.7:4711", "198.51.100.7"),
        ("fd00::1", "[2001:db8:1:2:3::9]:4711", "2001:db8:1:2::/64"),
        ("::ffff:10.1.2.3", "198.51.100.7", "198.51.100.7"),
    ],
)
def test_the_client_is_the_first_from_the_right_who_is_no_trusted_proxy(client, chain, found):
    assert make_front(None, PROXIES).address(request(client, ("x-forwarded-for", chain))) == found


def test_a_chain_may_come_in_several_lines():
    asked = request("10.1.2.3", ("x-forwarded-for", "198.51.100.7"), ("x-forwarded-for", "10.9.9.9"))
    assert make_front(None, PROXIES).address(asked) == "198.51.100.7"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_an_ipv6_address_is_counted_by_its_site(text, expected):
    assert counted(text) == expected


@settings(max_examples=100, deadline=None)
@given(chain=st.text(max_size=40), host=st.text(max_size=20), client=st.sampled_from(["10.1.2.3", "192.0.2.1", ""]))
def test_whatever_is_forwarded_there_is_a_name_and_an_address(chain, host, client):
    headers = ((b"x-forwarded-for", chain.encode()), (b"x-forwarded-host", host.encode()))
    asked = Request("GET", "/", "", headers, "http", client)
    front = make_front(None, PROXIES)
    assert front.origin(asked).startswith("http://")
    assert isinstance(front.address(asked), str)


def test_a_network_that_is_none_is_refused_when_the_gate_is_made():
    with pytest.raises(ValueError, match="10/8"):
        make_front(None, ["10/8"])
