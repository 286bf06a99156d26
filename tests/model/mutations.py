"""Simplifications of the protocol, each with a setting in which it fails and what comes of it. Nobody should fall for one again.

Those named after the plan are its own list of what fails; the others leave out something by which the repository departs from it.
"""

from typing import NamedTuple

from tests.model.calls import Rules
from tests.model.protocol import Setting


class Mutation(NamedTuple):
    rules: Rules
    setting: Setting
    fails: str
    """A part of what is wrong then."""


STUCK = "nothing leads to a good end"
OTHERS = "which member"
BASE = "goes on from"
TWICE = "twice"
WORK = "others have done its work"
NOTHING = "sure that its commit has come to nothing"
ACTIVITY, RETRIED = ("activity",), ("retried",)
kill, crash, loss = Setting(kills=1, runs=ACTIVITY), Setting(crashes=1, runs=ACTIVITY), Setting(losses=1)
lost_poll = Setting(sent=(), losses=1, runs=ACTIVITY, left=True)

MUTATIONS: dict[str, Mutation] = {
    # of the plan
    "no fence": Mutation(Rules(fence="none"), kill, OTHERS),
    "a plain SELECT as fence": Mutation(Rules(fence="a plain select"), kill, OTHERS),
    "a fence that locks FOR KEY SHARE": Mutation(Rules(fence="for key share"), kill, OTHERS),
    "the fence alone after a commit in doubt": Mutation(Rules(settle_waits=False), loss, NOTHING),
    "parked blindly, and claimed only when due": Mutation(Rules(mail_wakes=False), Setting(begins=True), STUCK),
    "parked unless there is mail, by one statement, and claimed only when due": Mutation(
        Rules(parks="unless there is mail", mail_wakes=False), Setting(begins=True), STUCK
    ),
    "mail is read only by whom it is addressed to": Mutation(
        Rules(reads="by address"), Setting(begins=True, crashes=1), STUCK
    ),
    "whoever claims a run reads only its own mail": Mutation(
        Rules(reads="only addressed"), Setting(begins=True), STUCK
    ),
    "only who declares a member dead takes over": Mutation(
        Rules(dead_claimed_by="the declarer"), Setting(processes=3, sent=(), crashes=1, runs=ACTIVITY, left=True), STUCK
    ),
    "declared dead and taken over by one statement": Mutation(
        Rules(declares="and claims", dead_claimed_by="nobody"), crash, STUCK
    ),
    "taken over first, declared dead afterwards": Mutation(Rules(declares="afterwards"), Setting(), WORK),
    "a beat that makes a dead member live": Mutation(Rules(revives=True), kill, WORK),
    "a hand-over that wakes nobody": Mutation(Rules(hands_over="to nobody"), Setting(leaves=1, runs=ACTIVITY), STUCK),
    "mail is read from a mark on": Mutation(Rules(watermark=True), Setting(sent=((1, "a"), (1, "b"))), STUCK),
    "what was sent twice is taken twice": Mutation(Rules(dedup=False), Setting(sent=((1, "a"), (1, "a"))), TWICE),
    "an activity in the air is not found again": Mutation(Rules(looks_after=False), crash, STUCK),
    "a transaction of several messages": Mutation(Rules(one_shot=False), crash, STUCK),
    "senders that lock the row of the run": Mutation(
        Rules(senders_lock=True), Setting(sent=((1, "a"), (1, "b")), idles=("b",)), STUCK
    ),
    "parked while its activity is in the air": Mutation(
        Rules(parks_flying=True), Setting(runs=ACTIVITY, sent=((1, "a"), (1, "b"))), "taken for lost"
    ),
    # of this repository
    "commits without a term": Mutation(Rules(term=False), loss, NOTHING),
    "polls without a term": Mutation(Rules(all_calls_have_terms=False), lost_poll, STUCK),
    "what a lost poll has claimed is not told again": Mutation(Rules(lost_calls_are_settled=False), lost_poll, STUCK),
    "a commit in doubt is looked for without a fence": Mutation(
        Rules(settle_is_fenced=False), Setting(kills=1, losses=1), "sure that its commit was written"
    ),
    "a commit in doubt is known by its attempts before what it has parked": Mutation(
        Rules(signs="attempts first"), Setting(runs=RETRIED, losses=1), NOTHING
    ),
    "copies that are kept whoever has had the run": Mutation(Rules(copies="for ever"), Setting(runs=RETRIED), BASE),
    "copies that are true if they are as long": Mutation(Rules(copies="by length"), Setting(runs=RETRIED), BASE),
    "own takes runs of the living": Mutation(Rules(own_looks=False), Setting(boxed=((0, 1, "x"),)), WORK),
    "own locks what is the member's": Mutation(
        Rules(own_locks_mine=True), Setting(losses=1, runs=ACTIVITY), "passes over"
    ),
    "whoever joins forgets the dead that have runs": Mutation(
        Rules(join_forgets="whoever is unused", dead_have_rows=True), Setting(crashes=1, restarts=True), STUCK
    ),
    "members that declare each other dead wait for each other": Mutation(
        Rules(declare_locks="whatever it takes"), Setting(sent=(), kills=2), "a deadlock"
    ),
    "mail of no run is read by everybody": Mutation(Rules(mail_of_nobody="everybody"), Setting(sent=((0, "a"),)), WORK),
}
