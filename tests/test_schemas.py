"""JSON from files is checked once: a value of the right type and range, or a UserError of one line."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca_numpy.errors import UserError, printable
from ca_numpy.schemas import Natural, content, inside, log_record, parsed, run_state

NAMES = ("a.png", "sub/b.png", "a b/ü..png", "...", "a\\b.png")
OUTSIDE = (
    "../a.png",
    "a/../../b",
    "/etc/passwd",
    "C:\\a",
    "C:a",
    "\\\\server\\share\\a",
    "a\\..\\b",
    "",
    "a\0b",
    "//a/b/c",
)


@pytest.mark.parametrize("name", NAMES)
def test_names_below_a_folder_are_taken_as_they_are(name):
    assert inside(name, "the list") == name


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_outside_are_refused(name):
    with pytest.raises(UserError, match=r"the list names .* outside its folder"):
        inside(name, "the list")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, b"\xff", "NaN", "1e999", "-1", "1.5", "null", "", "1 2"]
)
def test_json_that_is_no_number_is_one_line(text):
    with pytest.raises(UserError, match=r"^this is no number") as caught:
        parsed(text, Natural, "this is no number")
    assert str(caught.value).isprintable()


def test_a_pipe_a_device_a_folder_and_a_long_file_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(bytes(101))
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path, tmp_path / "long", tmp_path / "none"):
        with pytest.raises(UserError):
            content(path, at_most=100)
    assert content(tmp_path / "long", at_most=101) == bytes(101)


@given(st.text())
def test_messages_hold_nothing_that_moves_the_cursor_or_reorders_text(text):
    assert str(UserError(text)).isprintable()
    assert printable(text) == printable(printable(text))


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\rb", "\u202egpj.exe", "\x9b2J", "line\nline", "\udcff"])
def test_what_is_not_shown_as_it_is_is_escaped(text):
    assert printable(text).isascii()
    assert "\\" in printable(text)
    assert printable("ℓ₁ 图 é") == "ℓ₁ 图 é"


@pytest.mark.parametrize(
    "line", [b"[]", b'{"l1": 1}', b'{"step": 1.5}', b'{"step": -1}', b'{"step": 1, "l1": "x"}', b"\xff", b"{"]
)
def test_a_line_of_a_log_without_a_step_or_with_other_bytes_is_refused(line):
    assert log_record(b'{"step": 3, "l1": 0.5, "none": null}', "line 1") == {"step": 3, "l1": 0.5, "none": None}
    with pytest.raises(UserError, match=r"^line 1"):
        log_record(line, "line 1")


def test_a_state_that_lacks_a_part_is_refused():
    with pytest.raises(UserError, match="its state is damaged: it lacks 'clocks'"):
        run_state("{}", "its state is damaged")
    with pytest.raises(UserError, match="'mask_rng' is no state"):
        run_state('{"mask_rng": {"bit_generator": "MT19937"}}', "its state is damaged")
