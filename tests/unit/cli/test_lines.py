"""Lines of styled text: width, clipping, wrapping, colours, ASCII."""

from perdure.cli.lines import clean, clip, clip_line, line_width, pad, painted, plain, width, wrap_line
from perdure.cli.tokens import Line


def test_wide_characters_take_two_cells() -> None:
    assert width("注文") == 4
    assert pad("注文", 6) == "注文  "
    assert clip("注文を処理", 6) == "注文…"


def test_text_that_fits_is_not_clipped() -> None:
    assert clip("order-1", 7) == "order-1"
    assert clip("order-12", 7) == "order-…"


def test_a_line_is_clipped_across_its_pieces() -> None:
    line: Line = [("state ", "failed"), ("workflow", "bold"), (" more", "")]

    clipped = clip_line(line, 9)

    assert plain(clipped) == "state wo…"
    assert [style for _, style in clipped] == ["failed", "bold"]


def test_a_line_is_wrapped_between_words_and_keeps_its_styles() -> None:
    wrapped = wrap_line([("ValueError", "failed"), (": no route to host", "")], 16)

    assert [plain(line) for line in wrapped] == ["ValueError: no", "  route to host"]
    assert wrapped[0][0] == ("ValueError", "failed")


def test_a_word_longer_than_the_terminal_is_cut() -> None:
    wrapped = wrap_line([("a " + "x" * 25, "")], 12)

    assert [plain(line) for line in wrapped] == ["a", "  xxxxxxxxxx", "  xxxxxxxxxx", "  xxxxx"]


def test_every_part_of_a_wrapped_line_fits() -> None:
    line: Line = [("→ ", "dim"), ("perdure run shop.py:order --id order-48213 --db sqlite:////var/lib/orders.db", "")]

    for cells in range(8, 60):
        assert all(line_width(part) <= cells for part in wrap_line(line, cells))


def test_control_characters_and_changes_of_direction_become_blanks() -> None:
    assert clean("a\x1b[31mb\nc\u202ed") == "a [31mb c d"


def test_colour_codes_are_written_only_when_asked_for() -> None:
    line: Line = [("✗ failed", "failed"), ("  order-1", "")]

    assert painted(line, color=True, ascii=False) == "\x1b[31m✗ failed\x1b[0m  order-1"
    assert painted(line, color=False, ascii=False) == "✗ failed  order-1"


def test_blocks_of_failed_attempts_have_another_form_where_there_is_no_colour() -> None:
    bar: Line = [("██", "failed"), ("╌", "retrying"), ("██", "completed")]

    assert painted(bar, color=False, ascii=False) == "xx╌██"
    assert painted(bar, color=False, ascii=True) == "xx-##"
    assert painted(bar, color=True, ascii=False) == "\x1b[31m██\x1b[0m\x1b[33m╌\x1b[0m\x1b[32m██\x1b[0m"


def test_ascii_replaces_what_it_has_no_sign_for() -> None:
    assert painted([("注 → ✓", "")], color=False, ascii=True) == "? -> *"
