"""A walk through the model, made on a server at the same time: the real functions, each call on a connection of its own.

A call is one function, so it stops in its midst only where it waits. Where the model has a transaction open, so has the server: its
function has returned, and COMMIT is still to come. That a call waits is seen in `pg_blocking_pids`. After each step both have
answered the same, and hold the same.
"""

import random
import threading
from typing import Any, Self

import psycopg

from perdure.kernel.project import AttemptRow, HistoryRow, RunRow
from perdure.kernel.run import Status
from perdure.stores import base
from perdure.stores.postgres import journal
from tests.conformance.conftest import COUNTED
from tests.model.calls import CALLS, Rules
from tests.model.explorer import told
from tests.model.protocol import Label, Protocol, Setting, Step, World
from tests.model.server import DEAD, GONE, LEFT, LIVES, Letter, Run, Tables, Txn

DUE = 5
ENDS = ("COMMIT", "ROLLBACK")
SQL = {
    "poll": "SELECT kind, a, b, c FROM perdure.poll(%b::bigint, %b::bigint, 100, 1000, 1000, true, %b)",
    "own": "SELECT key, claims FROM perdure.own(%b::bigint, %b::bigint, %b::bigint[])",
    "declare_dead": "SELECT perdure.declare_dead(%b::bigint, %b::bigint, %b::bigint, %b::bigint)",
    "hand_over": "SELECT perdure.hand_over(%b::bigint, %b::bigint)",
    "settle": "SELECT perdure.settle(%b::bigint)",
    "send": "INSERT INTO perdure.mail (run, kind, body, reply_to) VALUES (%b, 7, %b, '') RETURNING id",
    "commit": journal._FIRST,
}
EMPTY = "TRUNCATE perdure.members, perdure.beats, perdure.runs, perdure.history, perdure.attempts, perdure.mail RESTART IDENTITY"


class Session:
    """A connection, on which a call is made by a thread of its own."""

    def __init__(self, address: str) -> None:
        self.connection = psycopg.connect(address, prepare_threshold=None)
        self.pid = self.connection.info.backend_pid
        self.outcome: Any = None
        self._thread: threading.Thread | None = None

    def begin(self, sql: str, values: Any) -> None:
        self.outcome = None
        self._thread = threading.Thread(target=self._call, args=(sql, values))
        self._thread.start()

    def _call(self, sql: str, values: Any) -> None:
        try:
            cursor = self.connection.execute(sql.encode(), values, binary=True)
            self.outcome = cursor.fetchall()
        except psycopg.Error as error:
            self.outcome = error.sqlstate

    def has_returned(self) -> bool:
        assert self._thread is not None
        return not self._thread.is_alive()

    def end(self, how: str) -> None:
        """So that it can be used again."""
        if self._thread is not None and self._thread.is_alive():
            self.connection.cancel()
            self._thread.join()
        self.connection.execute(how.encode())


class Sessions:
    """Connections to a database, some of them idle."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._idle: list[Session] = []
        self.watch = psycopg.connect(address, autocommit=True, prepare_threshold=None)
        # Whatever waits does so here until the walk says that it goes on.
        limited = b"SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'perdure'::regnamespace AND proconfig::text LIKE '%lock_timeout%'"
        for (function,) in self.watch.execute(limited).fetchall():
            self.watch.execute(f"ALTER FUNCTION {function} RESET lock_timeout".encode())
        self.watch.execute(COUNTED.encode())

    def take(self) -> Session:
        return self._idle.pop() if self._idle else Session(self._address)

    def give_back(self, session: Session, how: str = "ROLLBACK") -> None:
        session.end(how)
        self._idle.append(session)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for session in self._idle:
            session.connection.close()
        self.watch.close()


class Walk:
    """One way through a setting, by chance; `seen` collects what has happened."""

    def __init__(self, sessions: Sessions, setting: Setting, seed: int) -> None:
        self.protocol = Protocol(setting._replace(coarse=True), Rules(beats=True))
        self.world = self.protocol.first()
        self.seen: set[str] = set()
        self.trace: list[str] = []
        self._idle = sessions
        self._random = random.Random(seed)
        self._sessions: dict[int, Session] = {}
        self._waiting: set[int] = set()
        self._mail: dict[int, int] = {}
        """Real numbers of letters by those of the model."""
        self._watch = sessions.watch

    def go(self, steps: int) -> None:
        try:
            self._prepare()
            for _ in range(steps):
                if not self._step():
                    break
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *self.trace])) from error
        finally:
            for session in self._sessions.values():
                self._idle.give_back(session)

    def _prepare(self) -> None:
        self._watch.execute(EMPTY.encode())
        for key, row in enumerate(self.world.tables.runs, 1):
            self._watch.execute(
                b"INSERT INTO perdure.runs (key, id, run_id, workflow, status, note, build, started_at, wake_at, seq, open_tail, strikes, "
                b"followed_by, chain, request, parent, root, pinned) VALUES (%b, %t, '', 'order', 2, '', '', 0, %b, 0, false, 0, 0, 0, '', "
                b"0, 0, '')",
                (key, f"run-{key}", DUE if row.wake else None),
            )
        for _ in self.world.tables.members:
            self._join()
        self._compare()

    def _join(self) -> None:
        self._watch.execute(b"SELECT perdure.join_members('', 0, '', 0, 0, 0, 1)")

    # steps

    def _step(self) -> bool:
        """Whoever waits no more goes on at once; else anything may happen. False if nothing can."""
        steps = list(self.protocol.steps(self.world))
        forced = [step for step in steps if self._goes_on(step[0])]
        if forced:
            self._take(forced[0])
            return True
        choices: list[Step | Txn] = [step for step in steps if self._can_be_shown(step)]
        if not self._waiting:
            choices += [txn for txn in self._open() if txn.number not in self._sessions and self._waits(txn)]
        if not choices:
            return False
        choice = self._chosen(choices)
        if isinstance(choice, Txn):
            self._begin(choice)
            self._arrives(choice, returns=False)
        else:
            self._take(choice)
        return True

    def _chosen(self, choices: "list[Step | Txn]") -> "Step | Txn":
        """Half of the time whatever happens is as likely, else whatever kind of thing: most of what can happen are polls."""
        if self._random.random() < 0.5:
            return self._random.choice(choices)
        kinds: dict[str, list[Step | Txn]] = {}
        for each in choices:
            kinds.setdefault("waits" if isinstance(each, Txn) else f"{each[0][0]} {each[0][-1] in ENDS}", []).append(
                each
            )
        return self._random.choice(kinds[self._random.choice(sorted(kinds))])

    def _goes_on(self, label: Label) -> bool:
        return (
            len(label) > 2
            and isinstance(label[2], Txn)
            and label[0] == label[2].call
            and (label[2].number in self._waiting and label[-1] != "ROLLBACK")
        )

    def _can_be_shown(self, step: Step) -> bool:
        """One waits at a time: who comes first of two that were let go at once is not for us to say."""
        label, _, after = step
        if label[-1] == "ROLLBACK" and label[2].number in self._waiting:
            return False
        return not self._waiting or not any(
            self._waits(txn, after) for txn in self._open(after) if txn.number not in self._waiting
        )

    def _open(self, world: World | None = None) -> list[Txn]:
        world = world or self.world
        txns = [each.txn for each in (*world.processes, *world.clients) if each.txn is not None]
        return [*txns, *world.left]

    def _waits(self, txn: Txn, world: World | None = None) -> bool:
        world = world or self.world
        if txn.pc == len(CALLS[txn.call]):
            return False
        return isinstance(self.protocol._run_on(world, txn, self._open(world)), list)

    def _take(self, step: Step) -> None:
        label, _, after = step
        self.trace.append(told(label))
        what, _, *rest = label
        before, self.world = self.world, after
        txn = rest[0] if rest and isinstance(rest[0], Txn) else None
        if what == "join":
            self._join()
        elif what in ("send", "sent"):
            self._send(before, after, label[1])
        elif what == "post":
            letter = next(each for each in after.tables.mail if each.id == after.letters)
            self._mail[letter.id] = self._watch.execute(SQL["send"].encode(), (_real(letter.run), b"")).fetchall()[0][0]
        elif txn is not None and what == txn.call:
            self._call(txn, rest[1] if len(rest) > 1 else "")
        self._compare()

    def _send(self, before: World, after: World, place: int) -> None:
        txn = after.clients[place].txn
        if txn is not None:
            session = self._sessions[txn.number] = self._idle.take()
            session.begin(SQL["send"], (_real(txn.args[0]), b""))
            self._arrives(txn, returns=True)
            self._mail[txn.args[2]] = session.outcome[0][0]
        else:
            sent = before.clients[place].txn
            assert sent is not None
            self._ends(sent, "COMMIT")

    def _call(self, txn: Txn, how: str) -> None:
        """A step of a call in the model: it begins or goes on, or is ended."""
        if how in ENDS:
            if how == "COMMIT" or txn.number in self._sessions:
                self._ends(txn, how)
            self.seen.add(f"{txn.call}: {how}")
            return
        if txn.number not in self._sessions:
            self._begin(txn)
        if how:
            self._arrives(txn, returns=True)
            outcome = self._sessions[txn.number].outcome
            outcome = "PD001" if txn.call == "settle" and outcome == [(None,)] else outcome  # `renew` makes it one
            assert outcome == how, f"{txn.call} ends with {outcome!r}"
            self.seen.add(f"{txn.call}: {how}")
            self._idle.give_back(self._sessions.pop(txn.number))
            return
        now = next(each for each in self._open() if each.number == txn.number)
        returns = now.pc == len(CALLS[txn.call])
        self._arrives(txn, returns)
        if returns:
            self._same_answer(now)

    def _begin(self, txn: Txn) -> None:
        session = self._sessions[txn.number] = self._idle.take()
        session.begin(SQL[txn.call], self._values(txn))

    def _arrives(self, txn: Txn, returns: bool) -> None:
        session = self._sessions[txn.number]
        blocked: list[int] = []
        while not session.has_returned() and not (blocked and not returns):
            blocked = self._watch.execute(b"SELECT pg_blocking_pids(%b)", (session.pid,)).fetchall()[0][0]
            if blocked and returns and self._is_stuck(session):
                raise AssertionError(f"{txn.call} waits on the server, and not in the model")
        if returns:
            self._waiting.discard(txn.number)
            return
        assert not session.has_returned(), f"{txn.call} waits in the model, and not on the server: {session.outcome}"
        self._waiting.add(txn.number)
        self.seen.add(f"{txn.call}: waits")
        self.trace.append(f"{txn.call} of member {txn.me} waits")

    def _is_stuck(self, session: Session) -> bool:
        """Whoever holds what it waits for does nothing any more, or waits itself."""
        moves = (
            b"SELECT 1 FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids(%b)) AND state = 'active' "
            b"AND pg_blocking_pids(pid) = '{}'"
        )
        return not self._watch.execute(moves, (session.pid,)).fetchall() and not session.has_returned()

    def _ends(self, txn: Txn, how: str) -> None:
        self._idle.give_back(self._sessions.pop(txn.number), how)

    # what is said, and what there is

    def _values(self, txn: Txn) -> list[Any]:
        if txn.call == "commit":
            term, parts, read, parks = txn.args
            batch = base.Batch(
                updated=[_row(key, len(was[0]) + len(events), wake) for key, was, events, _, wake in parts],
                history=[
                    HistoryRow(key, len(was[0]) + 1, " ".join(events).encode())
                    for key, was, events, *_ in parts
                    if events
                ],
                attempts=[
                    AttemptRow(key, "", 1, 0, attempt[1], 0, counted=attempt[0]) for key, _, _, attempt, _ in parts
                ],
                mail_read=[self._mail[id] for id in read],
                parks=list(parks),
            )
            return [txn.me, term, *journal.columns_of(batch), txn.me]
        if txn.call == "own":
            return [txn.me, txn.args[0], list(txn.args[1])]
        return [txn.me, *txn.args]

    def _same_answer(self, txn: Txn) -> None:
        answer = self._sessions[txn.number].outcome
        assert not isinstance(answer, str), f"{txn.call} ends with {answer}"
        if txn.call == "poll":
            claimed, mail, due = txn.seen
            expected = {(0, *each) for each in claimed} | {
                (1, self._mail[each.id], _real(each.run), None) for each in mail
            }
            expected |= {(2, key, DUE, None) for key in due}
            answer = {row for row in answer if row[0] in (0, 1, 2)}
            if claimed:
                self.seen.add(
                    "poll: claims from the dead" if any(left_by for *_, left_by in claimed) else "poll: claims"
                )
            if txn.args[1]:
                self.seen.add("poll: tells all again")
        elif txn.call == "own":
            expected, answer = set(txn.seen), set(answer)
            self.seen.add("own: all" if len(txn.seen) == len(txn.args[1]) else "own: passes over")
        elif txn.call in ("declare_dead", "settle"):
            expected, answer = txn.seen, answer[0][0]
            self.seen.add(f"{txn.call}: {txn.seen if txn.call == 'declare_dead' else 'a term'}")
        else:
            return
        assert answer == expected, f"{txn.call} says {answer}, and {expected} in the model"

    def _compare(self) -> None:
        there, expected = self._tables(), self.world.tables
        expected = expected._replace(
            members=tuple(
                each._replace(used=False) if each.state != GONE else each._replace(used=False, beats=0, term=0)
                for each in expected.members
            ),
            mail=tuple(sorted(each._replace(request="", id=self._mail[each.id]) for each in expected.mail)),
        )
        assert there == expected, f"there is\n{there}, and\n{expected} in the model"

    def _tables(self) -> Tables:
        ask = lambda sql: self._watch.execute(sql).fetchall()  # noqa: E731
        members = {
            id: (LIVES if alive else LEFT if left else DEAD, term, False, beat)
            for id, alive, left, term, beat in ask(
                b"SELECT m.id, m.alive, m.handed_over, m.term, b.beat FROM perdure.members m JOIN perdure.beats b ON b.member = m.id"
            )
        }
        count = len(self.world.tables.members)
        runs = tuple(
            Run(owner or 0, claims, wake is not None, seq, left_by)
            for owner, claims, wake, seq, left_by in ask(
                b"SELECT owner, claims, wake_at, seq, left_by FROM perdure.runs ORDER BY key"
            )
        )
        histories: list[tuple[str, ...]] = [()] * len(runs)
        for key, seq, events in ask(b"SELECT run, seq, events FROM perdure.history ORDER BY run, seq"):
            assert seq == len(histories[key - 1]) + 1
            histories[key - 1] += tuple(events.decode().split())
        attempts = [(0, 0)] * len(runs)
        for key, counted, member in ask(b"SELECT run, counted, member FROM perdure.attempts"):
            attempts[key - 1] = (counted, member)
        mail = tuple(
            Letter(id, 0 if run == _real(0) else run, "")
            for id, run in ask(b"SELECT id, run FROM perdure.mail ORDER BY id")
        )
        model = type(self.world.tables.members[0])
        rows = tuple(model(*members.get(id, (GONE, 0, False, 0))) for id in range(1, count + 1))
        return Tables(rows, runs, tuple(histories), tuple(attempts), mail)


def _real(run: int) -> int:
    """Of a run that there is none of."""
    return run or 999


def _row(key: int, seq: int, wake: bool) -> RunRow:
    return RunRow(key, f"run-{key}", b"", "order", Status.WAITING, "", "", 0, None, DUE if wake else None, seq)
