"""The calls of `perdure/stores/postgres/routines/`, statement by statement, by the names they have there.

A statement is a function of what is committed, its transaction and the other open ones. It gives the transaction as it is after
it, those that it has to wait for, or the code of the error by which the transaction ends. `Rules` are those of the
repository; a mutation changes one of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.model.server import (
    DEAD,
    GONE,
    LEFT,
    LIVES,
    Letter,
    Lock,
    Run,
    Tables,
    Txn,
    blockers,
    locked,
    member,
    run,
    written,
)


class Rules(NamedTuple):
    """How the protocol is. What the other values are is said by the mutations."""

    fence: str = "for share"
    polls_are_fenced: bool = True
    own_is_fenced: bool = True
    term: bool = True
    settle_waits: bool = True
    settle_is_fenced: bool = True
    mail_wakes: bool = True
    parks: str = "blindly"
    reads: str = "by owner"
    dead_claimed_by: str = "everybody"
    declares: str = "alone"
    declare_locks: str = "unless it is locked"
    revives: bool = False
    hands_over: str = "as dead"
    watermark: bool = False
    dedup: bool = True
    looks_after: bool = True
    lost_calls_are_settled: bool = True
    all_calls_have_terms: bool = True
    one_shot: bool = True
    senders_lock: bool = False
    copies: str = "by claims"
    own_looks: bool = True
    parks_flying: bool = False
    own_locks_mine: bool = False
    join_forgets: str = "who has no runs"
    dead_have_rows: bool = False
    signs: str = "parks first"
    beats: bool = False
    """Whether they are counted: only where the model is compared with a server, since it makes many states of each."""
    mail_of_nobody: str = "the eldest"


Outcome = Txn | list[Txn] | str
Statement = Callable[[Rules, Tables, Txn, list[Txn]], Outcome]
NO_OWNER, GONE_ON, REFUSED = "PD001", "PD002", "PD003"


def _next(txn: Txn, seen: Any = None) -> Txn:
    return txn._replace(pc=txn.pc + 1, seen=txn.seen if seen is None else seen)


def _lock_member(rules: Rules, tables: Tables, txn: Txn, others: list[Txn], id: int, how: Lock) -> Outcome:
    """A row that the snapshot shows to be dead is not waited for."""
    if member(tables, id).state != LIVES:
        return NO_OWNER
    return blockers(others, "member", id, how) or locked(txn, "member", id, how)


def _fence(rules: Rules, tables: Tables, txn: Txn, others: list[Txn], of_term: bool = False) -> Outcome:
    if rules.fence == "none":
        return txn
    if of_term and rules.term and member(tables, txn.me).term != txn.args[0]:
        return NO_OWNER
    if rules.fence == "a plain select":
        return txn if member(tables, txn.me).state == LIVES else NO_OWNER
    how = Lock.SHARE if rules.fence == "for share" else Lock.KEY_SHARE
    return _lock_member(rules, tables, txn, others, txn.me, how)


# poll


def poll_fence(rules: Rules, tables: Tables, txn: Txn, others: list[Txn]) -> Outcome:
    """Together with the list of owners that are dead: nothing between the two changes what comes of it."""
    outcome: Outcome = txn
    if rules.revives:
        if found := blockers(others, "member", txn.me, Lock.NO_KEY_UPDATE):
            return found
        revived = member(tables, txn.me)._replace(state=LIVES)
        outcome = written(locked(txn, "member", txn.me, Lock.NO_KEY_UPDATE), "member", txn.me, revived)
    elif rules.polls_are_fenced:
        outcome = _fence(rules, tables, txn, others, rules.all_calls_have_terms)
    if not isinstance(outcome, Txn):
        return outcome
    if rules.declares == "afterwards":
        dead = frozenset(row.owner for row in tables.runs if row.owner not in (0, txn.me))
    else:
        dead = _dead_owners(rules, tables) if rules.dead_claimed_by == "everybody" else frozenset()
    return _next(outcome, dead)


def _dead_owners(rules: Rules, tables: Tables) -> frozenset[int]:
    owners = {row.owner for row in tables.runs if row.owner}
    dead = (DEAD, LEFT) if rules.dead_have_rows else (DEAD, LEFT, GONE)
    return frozenset(owner for owner in owners if member(tables, owner).state in dead)


def claim_snapshot(rules: Rules, tables: Tables, txn: Txn, others: list[Txn]) -> Outcome:
    dead = txn.seen
    wanted = []
    for key, row in enumerate(tables.runs, 1):
        has_mail = any(letter.run == key for letter in tables.mail)
        if row.owner in dead or (not row.owner and (row.wake or (has_mail and rules.mail_wakes))):
            wanted.append((key, row))
    return _next(txn, (dead, tuple(wanted)))


def _is_read_by(rules: Rules, me: int, letter: Letter) -> bool:
    return rules.reads == "by owner" or letter.hint == me or (rules.reads == "by address" and not letter.hint)


def claim(rules: Rules, tables: Tables, txn: Txn, others: list[Txn]) -> Outcome:
    """SKIP LOCKED; a row that has changed since the snapshot stays locked, whether it is still wanted or not."""
    dead, wanted = txn.seen
    claimed = []
    for key, before in wanted:
        if blockers(others, "run", key, Lock.NO_KEY_UPDATE):
            continue
        row = tables.runs[key - 1]
        txn = locked(txn, "run", key, Lock.NO_KEY_UPDATE)
        if row != before and not (not row.owner or row.owner in dead):
            continue
        txn = written(txn, "run", key, row._replace(owner=txn.me, claims=row.claims + 1, left_by=row.owner))
        claimed.append((key, row.claims + 1, row.owner))
    return _next(txn, tuple(claimed))


def work(rules: Rules, tables: Tables, txn: Txn, others: list[Txn]) -> Outcome:
    """Together with COMMIT: what others do in between they could do afterwards as well."""
    mine = [key for key in range(1, len(tables.runs) + 1) if run(tables, txn, key).owner == txn.me]
    eldest = next((id for id, each in enumerate(tables.members, 1) if each.state == LIVES), 0)
    nobodys = rules.mail_of_nobody == "everybody" or txn.me == eldest
    mail = tuple(
        letter
        for letter in tables.mail
        if (letter.run in mine and _is_read_by(rules, txn.me, letter)) or (not letter.run and nobodys)
    )
    due = tuple(key for key in mine if run(tables, txn, key).wake)
    told = txn.seen
    if txn.call == "poll" and txn.args[1]:  # an answer was lost: all that the member has
        new = {key for key, *_ in told}
        rows = ((key, run(tables, txn, key)) for key in mine if key not in new)
        told += tuple((key, row.claims, row.left_by or txn.me) for key, row in rows)
    if rules.beats:
        row = member(tables, txn.me)
        txn = written(txn, "member", txn.me, row._replace(beats=row.beats + 1))
    return _next(txn, (told, mail, due))


# own: args are (term, runs)


def own_fence(rules: Rules, tables: Tables, txn: Txn, others: list[Txn]) -> Outcome:
    """Together with the list of owners that are dead."""
    outcome = _fence(rules, tables, txn, others, rules.all_calls_have_terms) if rules.own_is_fenced else txn
    return _next(outcome, _dead_owners(rules, tables)) if isinstance(outcome, Txn) else outcome


def own_snapshot(rules: Rules, tables: Tables, txn: Txn, others: list[Txn]) -> Outcome:
    rows = [(key, tables.runs[key - 1]) for key in txn.args[1]]
    mine = tuple((key, row) for key, row in rows if row.owner == txn.me)
    free = tuple((key, row) for key, row in rows if row.owner != txn.me and _is_free(rules, row, txn.seen))
    if rules.own_locks_mine:
        return _next(txn, (txn.seen, mine + free, ()))
    return _next(txn, (txn.seen, free, mine))


def _is_free(rules: Rules, row: Run, dead: frozenset[int]) -> bool:
    return not row.owner or row.owner in dead or not rules.own_looks


def own(rules: Rules, tables: Tables, txn: Txn, others: list[Txn]) -> Outcome:
    dead, free, mine = txn.seen
    owned = [(key, row.claims) for key, row in mine]
    for key, _ in free:
        if blockers(others, "run", key, Lock.NO_KEY_UPDATE):
            continue
        row = tables.runs[key - 1]
        txn = locked(txn, "run", key, Lock.NO_KEY_UPDATE)
        if row.owner != txn.me:
            if not _is_free(rules, row, dead):
                continue
            row = row._replace(owner=txn.me, claims=row.claims + 1, left_by=row.owner)
            txn = written(txn, "run", key, row)
        owned.append((key, row.claims))
    return _next(txn, tuple(owned))


# commit: args are (term, parts, letters read, parked); a part is (run, what it was before, events, attempt, wake)


def commit_fence(rules: Rules, tables: Tables, txn: Txn, others: list[Txn]) -> Outcome:
    outcome = _fence(rules, tables, txn, others, of_term=True)
    return _next(outcome) if isinstance(outcome, Txn) else outcome


def commit_rows(rules: Rules, tables: Tables, txn: Txn, others: list[Txn]) -> Outcome:
    for key, base, events, attempt, wake in txn.args[1]:
        if found := blockers(others, "run", key, Lock.NO_KEY_UPDATE):
            return found
        txn = locked(txn, "run", key, Lock.NO_KEY_UPDATE)
        seq = len(base[0])
        if events and len(tables.histories[key - 1]) > seq:
            return REFUSED
        row = run(tables, txn, key)
        txn = written(txn, "run", key, row._replace(wake=wake, seq=seq + len(events), left_by=0))
        if events:
            txn = written(txn, "history", key, events)
        if attempt != tables.attempts[key - 1]:
            txn = written(txn, "attempt", key, attempt)
    return _next(txn)


def commit_mail(rules: Rules, tables: Tables, txn: Txn, others: list[Txn]) -> Outcome:
    there = {letter.id for letter in tables.mail}
    for id in txn.args[2]:
        if found := blockers(others, "mail", id, Lock.UPDATE):
            return found
        if id not in there:
            return GONE_ON
        txn = written(locked(txn, "mail", id, Lock.UPDATE), "mail", id, None)
    return _next(txn)


def commit_parks(rules: Rules, tables: Tables, txn: Txn, others: list[Txn]) -> Outcome:
    read = set(txn.args[2])
    for key, seq in txn.args[3]:
        if found := blockers(others, "run", key, Lock.NO_KEY_UPDATE):
            return found
        if rules.parks == "unless there is mail" and any(
            letter.run == key and letter.id not in read for letter in tables.mail
        ):
            continue
        row = run(tables, txn, key)
        if row.owner != txn.me or row.seq != seq:
            return GONE_ON
        txn = written(locked(txn, "run", key, Lock.NO_KEY_UPDATE), "run", key, row._replace(owner=0))
    return _next(txn)


# declare_dead, hand_over, settle: args of the first are (term, suspect, its beats), of the second (term)


def declare_fence(rules: Rules, tables: Tables, txn: Txn, others: list[Txn]) -> Outcome:
    if rules.declares == "and claims":  # one statement, so its snapshot is older than what it waits for
        had = tuple(key for key, row in enumerate(tables.runs, 1) if row.owner == txn.args[1])
        txn = txn._replace(seen=had)
    outcome = _fence(rules, tables, txn, others, rules.all_calls_have_terms)
    return _next(outcome) if isinstance(outcome, Txn) else outcome


def declare_lock(rules: Rules, tables: Tables, txn: Txn, others: list[Txn]) -> Outcome:
    """SKIP LOCKED."""
    outcome = _lock_member(rules, tables, txn, others, txn.args[1], Lock.NO_KEY_UPDATE)
    if isinstance(outcome, list) and rules.declare_locks == "unless it is locked":
        return _next(txn, "locked")
    if outcome == NO_OWNER:  # somebody else was faster
        return _next(txn)
    return _next(outcome) if isinstance(outcome, Txn) else outcome


def declare(rules: Rules, tables: Tables, txn: Txn, others: list[Txn]) -> Outcome:
    _, id, beats = txn.args
    suspect = member(tables, id)
    if suspect.state != LIVES or suspect.beats != beats or txn.seen == "locked":
        return _next(txn, False)
    claimed = txn.seen or ()
    txn = written(txn, "member", id, suspect._replace(state=DEAD))
    for key in claimed:
        row = tables.runs[key - 1]
        if row.owner == id and not blockers(others, "run", key, Lock.NO_KEY_UPDATE):
            txn = locked(txn, "run", key, Lock.NO_KEY_UPDATE)
            txn = written(txn, "run", key, row._replace(owner=txn.me, claims=row.claims + 1))
    return _next(txn, True)


def end_member(rules: Rules, tables: Tables, txn: Txn, others: list[Txn]) -> Outcome:
    if rules.all_calls_have_terms and member(tables, txn.me).term != txn.args[0]:
        return NO_OWNER
    outcome = _lock_member(rules, tables, txn, others, txn.me, Lock.NO_KEY_UPDATE)
    if not isinstance(outcome, Txn):
        return outcome
    txn = written(outcome, "member", txn.me, member(tables, txn.me)._replace(state=LEFT))
    if rules.hands_over == "to nobody":
        for key, row in enumerate(tables.runs, 1):
            if row.owner == txn.me:
                txn = written(locked(txn, "run", key, Lock.NO_KEY_UPDATE), "run", key, row._replace(owner=0))
    return _next(txn)


def new_term(rules: Rules, tables: Tables, txn: Txn, others: list[Txn]) -> Outcome:
    if not rules.settle_waits:
        return _next(txn, member(tables, txn.me).term)
    outcome = _lock_member(rules, tables, txn, others, txn.me, Lock.NO_KEY_UPDATE)
    if not isinstance(outcome, Txn):
        return outcome
    row = member(tables, txn.me)
    return _next(written(outcome, "member", txn.me, row._replace(term=row.term + 1)), row.term + 1)


# what a client sends: args are (run, request, id, hint)


def send(rules: Rules, tables: Tables, txn: Txn, others: list[Txn]) -> Outcome:
    key, request, id, hint = txn.args
    if rules.senders_lock:
        if found := blockers(others, "run", key, Lock.SHARE):
            return found
        txn = locked(txn, "run", key, Lock.SHARE)
    return _next(written(txn, "mail", id, Letter(id, key, request, hint)))


CALLS: dict[str, tuple[Statement, ...]] = {
    "poll": (poll_fence, claim_snapshot, claim, work),
    "own": (own_fence, own_snapshot, own),
    "commit": (commit_fence, commit_rows, commit_mail, commit_parks),
    "declare_dead": (declare_fence, declare_lock, declare),
    "take_over": (claim_snapshot, claim, work),
    "hand_over": (end_member,),
    "settle": (new_term,),
    "send": (send,),
}
"""`take_over` is of a mutation: the one in which only the declarer takes over."""

WITH_COMMIT = frozenset({"poll", "take_over"})
"""Whose last statement is one step with COMMIT, as it only reads. The statements of `commit` after the fence are one step, until
one of them waits."""
