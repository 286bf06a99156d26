"""What a person at a terminal sees, and which keys do what."""

from collections.abc import Callable

from tests.cli.conftest import SHOP, Place, Terminal, plain

Start = Callable[..., Terminal]


def test_a_run_is_drawn_while_it_moves_and_once_more_at_its_end(place: Place, terminal: Start) -> None:
    shown = terminal("run", f"{SHOP}:order", "--id", "order-1", "--arg", "amount=3")
    shown.wait_for("▶ gate")
    place.open_gate()

    code = shown.ended()

    last = plain(shown.shown)[plain(shown.shown).rindex("completed  order  order-1") :].splitlines()
    assert code == 0
    assert [line.split()[1] for line in last[3:6]] == ["note", "gate", "note"]
    assert last[6:] == ['"order of 3"']


def test_the_picture_of_a_failed_run_and_the_error_do_not_say_the_same_twice(place: Place, terminal: Start) -> None:
    shown = terminal("run", f"{SHOP}:declines", "--id", "order-1", "--arg", "amount=3")

    code = shown.ended()

    assert code == 3
    assert plain(shown.shown).endswith("error: run order-1 failed\n")
    assert plain(shown.shown).count("ValueError: 3 is too much") == 1


def test_control_c_stops_the_process_and_says_how_the_run_goes_on(place: Place, terminal: Start) -> None:
    shown = terminal("run", f"{SHOP}:order", "--id", "order-1", "--arg", "amount=3")
    shown.wait_for("▶ gate")
    shown.type("\x03")

    code = shown.ended()

    assert code == 130
    assert plain(shown.shown).endswith(
        f"stopped; what is done is kept. Go on with:  perdure run {SHOP}:order --id order-1\n"
    )
    assert "\x1b[?25h" in shown.shown[shown.shown.rindex("gate") :], "the cursor is shown again"


def test_a_followed_run_shows_its_tree_its_events_and_its_end(place: Place, terminal: Start) -> None:
    place.engine()
    place.perdure("start", "order", "--id", "order-1", "--arg", "amount=3")
    shown = terminal("show", "order-1", "--follow")
    shown.wait_for("▶ gate")
    shown.type("e")
    shown.wait_for("ActivityScheduled")
    shown.type("t")
    shown.wait_for("▶ gate")
    place.open_gate()

    code = shown.ended()

    assert code == 0
    assert "keys: r retry now · c cancel · t tree · m messages · e events · l logs · q quit" in plain(shown.shown)
    assert plain(shown.shown).endswith('result "order of 3"\n')


def test_quitting_leaves_the_run_going(place: Place, terminal: Start) -> None:
    place.engine()
    place.perdure("start", "order", "--id", "order-1", "--arg", "amount=3")
    shown = terminal("show", "order-1", "--follow")
    shown.wait_for("keys:")
    shown.type("q")

    code = shown.ended()

    assert code == 0
    assert plain(shown.shown).endswith("order-1 goes on\n")
    assert place.perdure("list", "--json=state").stdout == '[{"state": "running"}]\n'


def test_control_c_leaves_a_followed_run_going(place: Place, terminal: Start) -> None:
    place.engine()
    place.perdure("start", "order", "--id", "order-1", "--arg", "amount=3")
    shown = terminal("show", "order-1", "--follow")
    shown.wait_for("keys:")
    shown.type("\x03")

    code = shown.ended()

    assert code == 130
    assert plain(shown.shown).endswith("order-1 goes on; watch it again:  perdure show order-1 --follow\n")


def test_a_held_run_is_released_by_a_key(place: Place, terminal: Start) -> None:
    place.engine()
    place.perdure("start", "uses_a_bug", "--id", "bug-1", "--wait")
    shown = terminal("show", "bug-1", "--follow")
    shown.wait_for("the attempt waits for mended code")
    (place.folder / "mended").touch()
    shown.type("r")

    assert shown.ended() == 0
    assert plain(shown.shown).endswith('result "mended"\n')


def test_cancelling_by_a_key_asks_first(place: Place, terminal: Start) -> None:
    place.engine()
    place.perdure("start", "careful", "--id", "order-1", "--arg", "amount=3")
    place.wait_at_gate()
    shown = terminal("show", "order-1", "--follow")
    shown.wait_for("keys:")
    shown.type("c")
    shown.wait_for("cancel this run? y/n")
    shown.type("y")

    assert shown.ended() == 3
    assert place.ledger() == ["refunded"]


def test_several_runs_are_cancelled_after_a_question(place: Place, terminal: Start) -> None:
    for id in ("order-1", "order-2"):
        place.perdure("run", f"{SHOP}:uses_a_bug", "--id", id)
    refused, agreed = (terminal("terminate", "order-1", "order-2") for _ in range(2))
    for shown, answer in ((refused, "n\n"), (agreed, "y\n")):
        shown.wait_for("Terminate 2 runs? [y/N]")
        shown.type(answer)

    assert (refused.ended(), agreed.ended()) == (7, 0)
    assert plain(refused.shown).endswith("error: nothing done\n")
    assert "✓ order-1  termination requested; takes effect when an engine starts\n" in plain(agreed.shown)


def test_the_list_is_coloured_and_fits(place: Place, terminal: Start) -> None:
    place.perdure("run", f"{SHOP}:declines", "--id", "order-1", "--arg", "amount=3")
    shown = terminal("list")

    code = shown.ended()

    assert code == 0
    assert "\x1b[31m✗ failed\x1b[0m" in shown.shown
    assert plain(shown.shown).endswith("1 run\n")
    assert max(map(len, plain(shown.shown).splitlines())) <= 100
