"""Event streams are read as the WHATWG has them, however they are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.wire.sse import LONGEST_LINE, BadStream, Comment, Event, Reader, comment, encode

WORDS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=12)
LINES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n\0"), max_size=40)


def read(stream, cuts=()):
    reader, said, at = Reader(), [], 0
    for cut in (*sorted(cuts), len(stream)):
        said += [*reader.feed(stream[at:cut]), *reader.feed(b"")]
        at = cut
    return said


@given(st.lists(st.tuples(WORDS, LINES, st.none() | WORDS), max_size=6), st.data())
def test_what_is_written_is_read_however_it_is_cut_and_whatever_ends_its_lines(written, data):
    stream = b"".join(encode(word, line.encode(), place) + comment("alive") for word, line, place in written)
    stream = stream.replace(b"\n", data.draw(st.sampled_from([b"\n", b"\r", b"\r\n"])))
    stream = data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + stream
    last, expected = "", []
    for word, line, place in written:
        last = place or last
        expected += [Event(word, line, last), Comment("alive")]
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    assert read(stream, cuts) == expected


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [Event("message", "YHOO\n+2\n10", "")]),
        (b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
         [Comment("test stream"), Event("message", "first event", "1"), Event("message", "second event", ""),
          Event("message", " third event", "")]),
        (b"data\n\ndata\ndata\n\ndata:", [Event("message", "", ""), Event("message", "\n", "")]),
        (b"data:test\n\ndata: test\n\n", [Event("message", "test", "")] * 2),
        (b"\xef\xbb\xbfdata: x\n\n", [Event("message", "x", "")]),
        (b"id: a\0b\nevent: e\ndata: x\nother: y\n\n", [Event("e", "x", "")]),
        (b"data: cut off", []),
    ],
    ids=["lines", "ids", "empty", "space", "bom", "nul", "unfinished"],
)  # fmt: skip
def test_the_standards_own_examples_are_read_as_it_says(stream, said):
    assert read(stream) == said


def test_of_data_s_lines_each_may_end_in_another_way_and_be_cut_right_there():
    stream = b"data: a\r\ndata: b\rdata: c\n\r\ndata: d\r\r"
    for cut in range(len(stream) + 1):
        assert read(stream, [cut]) == [Event("message", "a\nb\nc", ""), Event("message", "d", "")]


def test_an_id_without_an_event_moves_the_last_id_and_says_nothing():
    reader = Reader("1")
    assert list(reader.feed(b"id: 2\n:\n\nretry: 1500\nretry: soon\n")) == [Comment("")]
    assert (reader.last_id, reader.retry_ms) == ("2", 1500)


@pytest.mark.parametrize(
    "piece",
    [b"x" * 65_536, b"x" * (LONGEST_LINE + 1) + b"\n", b"data: " + b"x" * 65_000 + b"\n", b"data\n" * 65_536],
    ids=["a line", "a line in one piece", "an event", "an event of nothing"],
)
def test_what_has_no_end_is_no_stream(piece):
    reader = Reader()
    with pytest.raises(BadStream, match=rf"of more than {LONGEST_LINE} bytes"):
        for _ in range(20):
            list(reader.feed(piece))


def test_the_longest_line_is_read():
    line = b"data: " + b"x" * (LONGEST_LINE - len("data: "))
    (said,) = read(line + b"\n\n", range(0, LONGEST_LINE, 65_536))
    assert len(said.data) == LONGEST_LINE - len("data: ")


@pytest.mark.parametrize("field", [("a\nb", b"{}", None), ("a", b"{\n}", None), ("a", b"{}", "1\r2")], ids=str)
def test_a_line_end_within_a_field_is_not_written(field):
    with pytest.raises(ValueError, match="line end"):
        encode(*field)


@pytest.mark.parametrize("text", ["a\n", "a\rdata: b"])
def test_a_comment_is_one_line(text):
    with pytest.raises(ValueError, match="line end"):
        comment(text)
