"""The one form of a URL that all its equivalents share (RFC 3986, 6.2.2 and 6.2.3): what `htu` is compared by."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.gate.proof import normalised


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("http://a", "http://a/"),
        ("HTTP://A:80", "http://a/"),
        ("http://a:", "http://a/"),
        ("http://a:080/", "http://a/"),
        ("http://a:443/", "http://a:443/"),
        ("https://a:443/", "https://a/"),
        ("http://a/b/../c/./d", "http://a/c/d"),
        ("http://a/../../b", "http://a/b"),
        ("http://a/b/..", "http://a/"),
        ("http://a/b/.", "http://a/b/"),
        ("http://a/b/c/..", "http://a/b/"),
        ("http://a/b/%2e%2e/c", "http://a/c"),
        ("http://a//b", "http://a//b"),
        ("http://a/b//../c", "http://a/b/c"),
        ("http://a/...", "http://a/..."),
        ("http://a/%7eb%2fc%2F", "http://a/~b%2Fc%2F"),
        ("http://a/%25%32%65", "http://a/%252e"),
        ("http://%41%2D%c3%a9.example", "http://a-%C3%A9.example/"),
        ("http://[::0001]:80/", "http://[::1]/"),
        ("http://[2001:DB8::A]/", "http://[2001:db8::a]/"),
        ("http://127.0.0.1:8080/v1/x?y#z", "http://127.0.0.1:8080/v1/x"),
        ("http://a?b", "http://a/"),
        ("http://a#b?c", "http://a/"),
        ("http://a/b;c=d,e!$&'()*+@:", "http://a/b;c=d,e!$&'()*+@:"),
        *((bad, None) for bad in ("", "/", "a", "a/b", "//a/b", "http:", "http:/a", "http://", "http:///a", "ftp://a")),
        *(
            (bad, None)
            for bad in ("http://a b", "http://a/b c", "http://a/é", "http://é/", "http://a/%", "http://a/%g0")
        ),
        *(
            (bad, None)
            for bad in ("http://u@a/", "http://u:p@a/", "http://a:b/", "http://a:65536/", "http://a:123456/")
        ),
        *((bad, None) for bad in ("http://[::1", "http://[::g]/", "http://[1:2]/", "http://[fe80::1%25eth0]/")),
        *(
            (bad, None)
            for bad in ("http://a\\b/", "http://a/\\", "http://a/\x00", "http://a/\n", " http://a/", "http://ſ/")
        ),
        *((bad, None) for bad in ("http\N{KELVIN SIGN}://a", "httpſ://a", "http://a:\N{ARABIC-INDIC DIGIT ONE}/")),
    ],
)
def test_a_url_has_one_form(url, form):
    assert normalised(url) == form


PLAIN = "abzAZ09-._~!$&'()*+,;=:@"
Pchar = st.sampled_from(PLAIN) | st.integers(0, 255).map(lambda byte: f"%{byte:02x}")
Segment = st.lists(Pchar, max_size=6).map("".join) | st.sampled_from(["", ".", "..", "...", "%2e", ".%2E"])
Plainly = st.text(PLAIN, max_size=6)


def path_of(segment):
    return st.lists(segment, max_size=6).map(lambda segments: "".join(f"/{one}" for one in segments))


Authority = st.sampled_from(["desk.example", "127.0.0.1", "[::1]", "a%2fb"])


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["http", "https"]), Authority, st.sampled_from(["", ":", ":80", ":443", ":8080"]), path_of(Segment)
)
def test_the_form_of_a_form_is_itself(scheme, authority, port, path):
    once = normalised(f"{scheme}://{authority}{port}{path}")
    assert once is not None
    assert normalised(once) == once
    assert "/./" not in once
    assert "/../" not in once


@settings(max_examples=300, deadline=None)
@given(path_of(Plainly), st.data())
def test_what_makes_no_difference_makes_no_difference(path, data):
    def spelt(letter):
        if not (letter.isascii() and (letter.isalnum() or letter in "-._~")) or data.draw(st.booleans()):
            return letter
        return f"%{ord(letter):02x}" if data.draw(st.booleans()) else f"%{ord(letter):02X}"

    other = "".join(map(spelt, path))
    place = data.draw(st.sampled_from([i for i, letter in enumerate(other + "/") if letter == "/"]))
    detour = data.draw(st.sampled_from(["", "/.", "/a/..", "/%2e", "/x/y/../.."]))
    if place < len(other) or detour == "":
        other = other[:place] + detour + other[place:]
    scheme = data.draw(st.sampled_from(["https", "HTTPS", "hTtPs"]))
    host = data.draw(st.sampled_from(["desk.example", "DESK.example", "%64esk.example", "desk.example:443"]))
    assert normalised(f"{scheme}://{host}{other}?q#f") == normalised(f"https://desk.example{path}")


@given(st.text(max_size=30) | st.text("http:/[]@%.?#a1\\ ", max_size=30))
def test_whatever_text_comes_it_has_a_form_or_none(text):
    form = normalised(text)
    assert form is None or normalised(form) == form
