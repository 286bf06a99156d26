"""Processes that share a store: what `runtime/` does around the calls, as a machine whose steps are those of its calls.

A process waits for one call at a time, on its connection. What it does between two calls touches nothing that is shared, so it
is no step of its own. Of a run only what matters here is left: it takes letters, at most one of which begins an activity in
the process; that ends, or fails once and is tried again later (which its history does not tell).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.model.calls import CALLS, GONE_ON, NO_OWNER, WITH_COMMIT, Rules
from tests.model.server import (
    DEAD,
    GONE,
    LEFT,
    LIVES,
    Member,
    Run,
    Tables,
    Txn,
    committed,
    replaced,
    waits_in_circles,
)


class Violation(Exception):
    """What must not be."""


Base = tuple[tuple[str, ...], tuple[int, int]]
"""A run as somebody knows it: its history, and the attempt in the air that the history does not tell."""


class Process(NamedTuple):
    """`me` is 0 while it is no member. `memory`: of each run what is known, (where, base, claims). `air`: attempts (run, number).
    `box`: letters of callers in the process. `doubt`: how a commit has ended of which nobody here knows it."""

    me: int = 0
    phase: str = "joins"
    term: int = 0
    txn: Txn | None = None
    memory: tuple[tuple[str, Any, int], ...] = ()
    items: tuple[tuple[Any, ...], ...] = ()
    air: frozenset[tuple[int, int]] = frozenset()
    box: tuple[tuple[int, str], ...] = ()
    posts: tuple[tuple[int, str], ...] = ()
    batch: Any = ()
    doubt: str = ""
    unsure: int = 0
    """A call was lost that may have claimed runs: 1 until it is known to be over, 2 until a poll has told them."""
    look: frozenset[int] = frozenset()
    """Runs that a batch which came to nothing has thrown out of memory."""
    found: bool = False
    mark: int = 0


class Client(NamedTuple):
    run: int
    request: str
    txn: Txn | None = None
    is_done: bool = False
    idles: bool = False


class World(NamedTuple):
    tables: Tables
    processes: tuple[Process, ...]
    clients: tuple[Client, ...]
    left: tuple[Txn, ...] = ()
    """Transactions on the server whose connection is gone."""
    letters: int = 0
    """So many have got a number."""
    crashes: int = 0
    losses: int = 0
    kills: int = 0
    leaves: int = 0
    """How many processes may still crash, connections be lost, living members be declared dead, processes be closed."""


class Setting(NamedTuple):
    """What is explored."""

    processes: int = 2
    runs: tuple[str, ...] = ("letters",)
    """Of each run what it does with its first letter: nothing more, an "activity", or one that is "retried" twice."""
    begins: bool = False
    """The runs are due at first, and begin."""
    left: bool = False
    """The first process has crashed, with an activity of each run in the air."""
    sent: tuple[tuple[int, str], ...] = ((1, "a"),)
    boxed: tuple[tuple[int, int, str], ...] = ()
    """(process, run, request) of callers in a process."""
    idles: tuple[str, ...] = ()
    """Requests whose client stays in its transaction for ever."""
    crashes: int = 0
    losses: int = 0
    kills: int = 0
    leaves: int = 0
    restarts: bool = False
    freezes: bool = False
    """A process that crashes leaves its connection open: the server does not know."""
    coarse: bool = False
    """Calls are not interrupted but where they wait, and before COMMIT."""


Label = tuple[Any, ...]
Step = tuple[Label, bool, World]
"""What happens, whether it is sure to happen some time, and the world after it."""


class Protocol:
    def __init__(self, setting: Setting, rules: Rules | None = None) -> None:
        self.setting = setting
        self.rules = rules or Rules()
        self.numbers = 0

    def first(self) -> World:
        setting = self.setting
        count = len(setting.runs)
        tables = Tables((), (Run(wake=setting.begins),) * count, ((),) * count, ((0, 0),) * count)
        boxes = [
            tuple((key, request) for at, key, request in setting.boxed if at == place)
            for place in range(setting.processes)
        ]
        processes = tuple(Process(box=box) for box in boxes)
        clients = tuple(Client(key, request, idles=request in setting.idles) for key, request in setting.sent)
        world = World(tables, processes, clients, (), 0, setting.crashes, setting.losses, setting.kills, setting.leaves)
        for place in range(setting.processes):
            world = self._joined(world, place)
        if setting.left:
            runs = (Run(owner=1, claims=1, seq=2),) * count
            left = world.tables._replace(runs=runs, histories=(("z", "S1"),) * count)
            world = _process(world._replace(tables=left), 0, Process(phase="over"))
        return world

    def is_good(self, world: World) -> bool:
        """All that was sent has been taken, and what that began has ended."""
        if world.tables.mail or any(
            process.items or process.box or process.posts or process.air for process in world.processes
        ):
            return False
        if any(not client.is_done and not client.idles for client in world.clients):
            return False
        return not any(
            _flies((history, world.tables.attempts[at])) or world.tables.attempts[at][0]
            for at, history in enumerate(world.tables.histories)
        )

    # steps

    def steps(self, world: World) -> Iterator[Step]:
        waits: dict[int, list[int]] = {}
        txns = _open(world)
        for place, client in enumerate(world.clients):
            yield from self._client(world, place, client, txns, waits)
        for place, txn in enumerate(world.left):
            yield from self._left(world, place, txn, txns, waits)
        for place, process in enumerate(world.processes):
            if process.txn is not None:
                yield from self._called(world, place, process, txns, waits)
            elif process.phase != "over":
                yield from self._free(world, place, process, txns)
        if waits and any(waits_in_circles(waits)):
            raise Violation("a deadlock")

    def _client(self, world: World, place: int, client: Client, txns: list[Txn], waits: Any) -> Iterator[Step]:
        if client.is_done:
            return
        if client.txn is None:
            number = world.letters + 1
            hint = world.tables.runs[client.run - 1].owner if client.run and self.rules.reads != "by owner" else 0
            txn = self._numbered(Txn("send", 0, (client.run, client.request, number, hint)))
            outcome = self._run_on(world, txn, txns)
            if isinstance(outcome, Txn):
                yield (
                    ("send", place),
                    True,
                    _client(world, place, client._replace(txn=outcome))._replace(letters=number),
                )
        elif not client.idles:
            after = _client(world, place, client._replace(txn=None, is_done=True))
            yield ("sent", place), True, after._replace(tables=committed(world.tables, client.txn))

    def _left(self, world: World, place: int, txn: Txn, txns: list[Txn], waits: Any) -> Iterator[Step]:
        rest = world.left[:place] + world.left[place + 1 :]
        if not self.rules.one_shot and txn.pc < len(CALLS[txn.call]) + 1:
            return  # what is to come next is never said, and the server waits for it
        outcome = self._next(world, txn, txns, waits)
        if outcome is None:
            return
        label = (txn.call, "alone", txn)
        if isinstance(outcome, str):
            yield (*label, outcome), True, self._ended(world._replace(left=rest), txn, "undone")
        elif outcome.pc > txn.pc:
            yield label, True, world._replace(left=(*rest, outcome))
        else:
            yield (
                (*label, "COMMIT"),
                True,
                self._ended(self._committed(world._replace(left=rest), outcome), txn, "done"),
            )
        yield (*label, "ROLLBACK"), False, self._ended(world._replace(left=rest), txn, "undone")

    def _called(self, world: World, place: int, process: Process, txns: list[Txn], waits: Any) -> Iterator[Step]:
        txn = process.txn
        assert txn is not None
        outcome = self._next(world, txn, txns, waits)
        label = (txn.call, place, txn)
        if isinstance(outcome, str):
            yield (*label, outcome), True, self._failed(world, place, process, outcome)
        elif outcome is not None and outcome.pc > txn.pc:
            yield label, True, _process(world, place, process._replace(txn=outcome))
        elif outcome is not None:
            after = self._committed(world, outcome)
            yield (*label, "COMMIT"), True, self._answered(after, place, process._replace(txn=None), outcome)
        if world.losses and txn.call in ("poll", "own", "commit"):
            yield (
                ("loses its connection", place, txn),
                False,
                self._lost(world._replace(losses=world.losses - 1), place, process),
            )
        if world.crashes:
            yield ("crash", place, txn), False, self._crashed(world, place, process)

    def _free(self, world: World, place: int, process: Process, txns: list[Txn]) -> Iterator[Step]:
        """What a process does that waits for no call."""
        me = process.me
        if process.phase == "joins":
            yield ("join", place), True, self._joined(world, place)
            return
        if process.phase == "loads":
            yield ("load", place), True, self._loaded(world, place, process)
        elif process.phase == "looks":
            yield ("look for it", place), True, self._looked(world, place, process)
        elif process.phase == "fences":
            if not any(("member", me, 2) in txn.locks for txn in txns):
                yield ("fence", place), True, self._fenced(world, place, process)
        elif process.posts:
            (key, request), *rest = process.posts
            txn = Txn("send", 0, (key, request, world.letters + 1, 0))
            outcome = self._run_on(world, txn, txns)
            if isinstance(outcome, Txn):
                posted = _process(world, place, process._replace(posts=tuple(rest)))._replace(letters=world.letters + 1)
                yield ("post", place), True, posted._replace(tables=committed(world.tables, outcome))
        else:
            yield from self._idle(world, place, process)
        if world.crashes:
            yield ("crash", place, None), False, self._crashed(world, place, process)

    def _idle(self, world: World, place: int, process: Process) -> Iterator[Step]:
        me = process.me
        yield ("poll", place), True, _process(world, place, self._polling(process))
        for key, number in process.air:
            landed = process._replace(air=process.air - {(key, number)}, items=(("end", key, number),))
            yield ("activity ends", place, key), True, self._processed(world, place, landed)
        if process.box:
            (key, request), *rest = process.box
            heard = process._replace(box=tuple(rest), items=(("letter", 0, key, request),))
            yield ("a caller speaks", place, key), True, self._processed(world, place, heard)
        for suspect, row in enumerate(world.tables.members, 1):
            if row.state == LIVES and suspect != me:
                lives = any(other.me == suspect and other.phase != "over" for other in world.processes)
                if world.kills or not lives:
                    after = world._replace(kills=world.kills - 1) if lives else world
                    txn = self._numbered(Txn("declare_dead", me, (process.term, suspect, row.beats)))
                    yield ("declare_dead", place, suspect), not lives, _process(after, place, process._replace(txn=txn))
        if world.leaves:
            txn = self._numbered(Txn("hand_over", me, (process.term,)))
            yield (
                ("hand_over", place),
                False,
                _process(world, place, process._replace(txn=txn))._replace(leaves=world.leaves - 1),
            )

    # calls

    def _numbered(self, txn: Txn) -> Txn:
        if not self.setting.coarse:
            return txn
        self.numbers += 1
        return txn._replace(number=self.numbers)

    def _next(self, world: World, txn: Txn, txns: list[Txn], waits: dict[int, list[int]]) -> Txn | str | None:
        """The transaction after its next statement, or as it is if COMMIT is next; None if it waits."""
        if txn.pc == len(CALLS[txn.call]):
            return txn
        outcome = self._run_on(world, txn, txns)
        if isinstance(outcome, list):
            waits[id(txn)] = [id(other) for other in outcome]
            return None
        if (
            isinstance(outcome, Txn)
            and outcome.call in WITH_COMMIT
            and not self.setting.coarse
            and outcome.pc == len(CALLS[txn.call])
        ):
            return outcome._replace(pc=txn.pc)  # it commits at once
        return outcome

    def _run_on(self, world: World, txn: Txn, txns: list[Txn]) -> Txn | str | list[Txn]:
        """One statement; of `commit`, what follows the fence until something waits; of a coarse setting, all of it."""
        others = [other for other in txns if other is not txn]
        statements = CALLS[txn.call]
        outcome = statements[txn.pc](self.rules, world.tables, txn, others)
        while isinstance(outcome, Txn) and outcome.pc < len(statements):
            if not self.setting.coarse and not (txn.call == "commit" and outcome.pc > 1):
                break
            further = statements[outcome.pc](self.rules, world.tables, outcome, others)
            if isinstance(further, list):
                break
            outcome = further
        return outcome

    def _committed(self, world: World, txn: Txn) -> World:
        if txn.call == "commit":
            self._checked(world, txn)
        after = committed(world.tables, txn)
        if txn.call == "commit":
            row = after.members[txn.me - 1]
            if not row.used:
                after = after._replace(members=replaced(after.members, txn.me, row._replace(used=True)))
        return world._replace(tables=after)

    def _checked(self, world: World, txn: Txn) -> None:
        """A commit, right before it is written."""
        tables = world.tables
        if txn.disowned:
            raise Violation("a commit is written that its member was sure had come to nothing")
        for key, base, events, attempt, _ in txn.args[1]:
            there = (tables.histories[key - 1], tables.attempts[key - 1])
            if base != there:
                raise Violation(f"run {key} goes on from {base}, but it is {there}")
            if tables.runs[key - 1].owner != txn.me:
                raise Violation(f"member {txn.me} writes run {key}, which member {tables.runs[key - 1].owner} owns")
            taken = [event for event in (*base[0], *events) if event.islower()]
            if len(set(taken)) < len(taken):
                raise Violation(f"run {key} has taken a letter twice: {taken}")
            if _flies(base) and attempt[0] > _flight(*base)[0] and attempt[1]:
                number, member = _flight(*base)
                for other in world.processes:
                    if other.me == member and (key, number) in other.air and _lives(world, other):
                        raise Violation(
                            f"an activity of run {key} is taken for lost, which member {member} has in the air"
                        )

    def _ended(self, world: World, txn: Txn, how: str) -> World:
        """Of a transaction that is alone."""
        if txn.call != "commit" or txn.disowned:
            return world
        for place, process in enumerate(world.processes):
            if process.me == txn.me and process.doubt == "open":
                return _process(world, place, process._replace(doubt=how))
        return world

    # what comes of them

    def _polling(self, process: Process) -> Process:
        if process.unsure == 1:
            return process._replace(txn=self._numbered(Txn("settle", process.me)))
        return process._replace(txn=self._numbered(Txn("poll", process.me, (process.term, process.unsure == 2))))

    def _answered(self, world: World, place: int, process: Process, txn: Txn) -> World:
        answer = txn.seen
        if txn.call in ("poll", "take_over"):
            return self._polled(world, place, process._replace(unsure=0), *answer)
        if txn.call == "own":
            return self._owned(world, place, process, dict(answer))
        if txn.call == "commit":
            return self._effected(world, place, process)
        if txn.call == "settle":
            process = process._replace(term=answer)
            if process.doubt:
                return _process(world, place, process._replace(phase="looks"))
            process = process._replace(unsure=2)
            if process.items:
                return self._processed(world, place, process)
            return _process(world, place, self._polling(process))
        if txn.call == "declare_dead":
            if answer and self.rules.dead_claimed_by == "the declarer":
                process = process._replace(txn=Txn("take_over", process.me, (), 0, frozenset({txn.args[1]})))
            return _process(world, place, process)
        return _process(world, place, Process(phase="over"))

    def _polled(self, world: World, place: int, process: Process, claimed: Any, mail: Any, due: Any) -> World:
        items: list[tuple[Any, ...]] = []
        for key, claims, left_by in claimed:
            process = self._recalled(process, key, claims)
            if (
                left_by
                and self.rules.looks_after
                and not (left_by == process.me and process.memory[key - 1][0] == "in")
            ):
                items.append(("care", key))
        items += [("care", key) for key in process.look if process.memory[key - 1][0] != "in"]
        process = process._replace(look=frozenset())
        mark = process.mark if self.rules.watermark else 0
        items = [("letter", letter.id, letter.run, letter.request) for letter in mail if letter.id > mark] + items
        items += [("due", key) for key in due]
        if self.rules.watermark and mail:
            process = process._replace(mark=max(mark, *(letter.id for letter in mail)))
        return self._processed(world, place, process._replace(items=tuple(items)))

    def _recalled(self, process: Process, key: int, claims: int) -> Process:
        """What was kept of a run is true still if nobody else has had it."""
        where, base, kept = process.memory[key - 1]
        if where == "in":
            return process
        is_true = where == "aside" and (self.rules.copies != "by claims" or kept + 1 == claims)
        return _memory(process, key, ("in", base, claims) if is_true else ("claimed", None, claims))

    def _processed(self, world: World, place: int, process: Process) -> World:
        """Deliver what there is: first all that it is about has to be here."""
        if not process.items:
            return _process(world, place, process)
        missing = tuple(
            sorted({_key(item) for item in process.items if _key(item) and process.memory[_key(item) - 1][0] != "in"})
        )
        if missing:
            call, args = ("settle", ()) if process.unsure == 1 else ("own", (process.term, missing))
            return _process(world, place, process._replace(txn=self._numbered(Txn(call, process.me, args))))
        return self._delivered(world, place, process, ())

    def _owned(self, world: World, place: int, process: Process, owned: dict[int, int]) -> World:
        posts, items = list(process.posts), []
        for item in process.items:
            key = _key(item)
            if key and process.memory[key - 1][0] != "in" and key not in owned:
                if _lives(world, process) and world.tables.runs[key - 1].owner == process.me:
                    raise Violation(f"member {process.me} passes over run {key}, which it owns")
                if item[0] == "letter" and not item[1]:
                    posts.append((key, item[3]))
            else:
                items.append(item)
        for key, claims in owned.items():
            process = self._recalled(process, key, claims)
        process = process._replace(items=tuple(items), posts=tuple(posts))
        if any(process.memory[key - 1][0] == "claimed" for key in owned):
            return _process(world, place, process._replace(phase="loads", batch=tuple(owned)))
        return self._delivered(world, place, process, ())

    def _loaded(self, world: World, place: int, process: Process) -> World:
        fresh = tuple(key for key in process.batch if process.memory[key - 1][0] == "claimed")
        for key in fresh:
            base = (world.tables.histories[key - 1], world.tables.attempts[key - 1])
            process = _memory(process, key, ("in", base, process.memory[key - 1][2]))
        return self._delivered(world, place, process._replace(phase="idle", batch=()), fresh)

    def _delivered(self, world: World, place: int, process: Process, fresh: tuple[int, ...]) -> World:
        """The turns of a batch, and its commit."""
        parts, read, parks = [], [item[1] for item in process.items if item[0] == "letter" and item[1]], []
        for key in sorted({_key(item) for item in process.items if _key(item)} | set(fresh)):
            _, base, _ = process.memory[key - 1]
            after = self._turns(process, key, base, key in fresh)
            if after != base:
                wake = bool(after[1][0]) and not after[1][1]
                parts.append((key, base, after[0][len(base[0]) :], after[1], wake))
            if not _flies(after) or self.rules.parks_flying:
                parks.append((key, len(after[0])))
        if not parts and not read:
            return _process(world, place, process._replace(items=()))
        batch = (process.term, tuple(parts), tuple(read), tuple(parks))
        txn = self._numbered(Txn("commit", process.me, batch))
        return _process(world, place, process._replace(txn=txn, batch=batch))

    def _turns(self, process: Process, key: int, base: Base, is_fresh: bool) -> Base:
        history, attempt = base
        me, script = process.me, self.setting.runs[key - 1]
        ends = {item[2] for item in process.items if item[0] == "end" and item[1] == key}
        if is_fresh and _flies(base) and self.rules.looks_after:
            number = attempt[0] or 1
            if (key, number) not in process.air and number not in ends:
                attempt = (number + 1, me)  # lost, and tried again at once
        for item in process.items:
            if _key(item) != key:
                continue
            if item[0] == "letter":
                if item[3] in history and self.rules.dedup:
                    continue
                history = (*history, item[3])
                if script != "letters" and not any(event.startswith("S") for event in history):
                    history = (*history, f"S{me}")
            elif item[0] == "end" and _flies((history, attempt)) and _flight(history, attempt) == (item[2], me):
                if script == "retried" and item[2] < 3:
                    attempt = (item[2] + 1, 0)
                else:
                    history, attempt = (*history, "E"), (0, 0)
            elif item[0] == "due" and attempt[0] and not attempt[1]:
                attempt = (attempt[0], me)
            elif item[0] == "due" and not history and self.setting.begins:
                history = ("B",)
        return history, attempt

    def _effected(self, world: World, place: int, process: Process) -> World:
        """The batch is durable, as far as the process knows."""
        _, parts, _, parks = process.batch
        air = process.air
        for key, base, events, attempt, _ in parts:
            after = (base[0] + events, attempt)
            process = _memory(process, key, ("in", after, process.memory[key - 1][2]))
            air = frozenset(each for each in air if each[0] != key)
            if _flies(after) and _flight(*after)[1] == process.me:
                air |= {(key, _flight(*after)[0])}
        for key, _ in parks:
            _, base, claims = process.memory[key - 1]
            process = _memory(process, key, ("aside", base, claims))
        return _process(world, place, process._replace(phase="idle", items=(), batch=(), air=air, doubt=""))

    def _lost(self, world: World, place: int, process: Process) -> World:
        txn = process.txn
        assert txn is not None
        world = world._replace(left=(*world.left, txn))
        process = process._replace(txn=None)
        if txn.call == "commit":
            settle = self._numbered(Txn("settle", process.me, ()))
            unsure = 2 if self.rules.lost_calls_are_settled else 0
            return _process(world, place, process._replace(txn=settle, doubt="open", unsure=unsure))
        process = process._replace(unsure=1 if self.rules.lost_calls_are_settled else 0)
        return self._processed(world, place, process)

    def _looked(self, world: World, place: int, process: Process) -> World:
        """Whether the commit in doubt has left signs: those of `journal.signs_of`, in their order."""
        _, parts, read, parks = process.batch
        tables = world.tables
        grown = [(key, len(base[0]) + len(events)) for key, base, events, *_ in parts if events]
        if grown:
            found = len(tables.histories[grown[0][0] - 1]) >= grown[0][1]
        elif read:
            found = not any(letter.id in read for letter in tables.mail)
        elif parks and (self.rules.signs == "parks first" or not parts):
            found = tables.runs[parks[0][0] - 1].owner != process.me
        else:
            found = tables.attempts[parts[0][0] - 1] == parts[0][3]
        if self.rules.settle_is_fenced:
            return _process(world, place, process._replace(phase="fences", found=found))
        return self._believed(world, place, process, found)

    def _fenced(self, world: World, place: int, process: Process) -> World:
        if world.tables.members[process.me - 1].state != LIVES:
            return self._anew(world, place, process)
        return self._believed(world, place, process._replace(found=False), process.found)

    def _believed(self, world: World, place: int, process: Process, written: bool) -> World:
        if written:
            if process.doubt != "done":
                raise Violation("a member is sure that its commit was written, which was not")
            return self._effected(world, place, process)
        if process.doubt == "done":
            raise Violation("a member is sure that its commit has come to nothing, which was written")
        left = tuple(
            txn._replace(disowned=True) if txn.call == "commit" and txn.me == process.me else txn for txn in world.left
        )
        process = process._replace(phase="idle", batch=(), doubt="")
        evicted = frozenset(_key(item) for item in process.items if _key(item))
        for key in evicted:
            process = _memory(process, key, ("", None, 0))
        process = process._replace(look=process.look | evicted)
        return self._processed(world._replace(left=left), place, process)

    def _failed(self, world: World, place: int, process: Process, code: str) -> World:
        if code not in (NO_OWNER, GONE_ON):
            raise Violation(f"a batch of member {process.me} is refused, as something of it is there already")
        if _lives(world, process):
            what = "finds that others have done its work" if code == GONE_ON else "is told that it does not"
            raise Violation(f"member {process.me} lives, and {what}")
        return self._anew(world, place, process)

    def _anew(self, world: World, place: int, process: Process) -> World:
        """As another member. What callers have said and nobody has taken is said again."""
        box = tuple((item[2], item[3]) for item in process.items if item[0] == "letter" and not item[1])
        return _process(world, place, Process(box=(*box, *process.box), posts=process.posts))

    def _crashed(self, world: World, place: int, process: Process) -> World:
        world = world._replace(crashes=world.crashes - 1)
        if process.txn is not None:
            world = world._replace(left=(*world.left, process.txn))
        return _process(world, place, Process(phase="joins" if self.setting.restarts else "over"))

    def _joined(self, world: World, place: int) -> World:
        members = list(world.tables.members)
        owners = {row.owner for row in world.tables.runs}
        for id, row in enumerate(members, 1):
            if (
                row.state in (DEAD, LEFT)
                and not row.used
                and (self.rules.join_forgets == "whoever is unused" or id not in owners)
            ):
                members[id - 1] = row._replace(state=GONE)
        members.append(Member())
        process = world.processes[place]
        nothing = (("", None, 0),) * len(self.setting.runs)
        joined = Process(len(members), "idle", memory=nothing, box=process.box, posts=process.posts)
        return _process(world._replace(tables=world.tables._replace(members=tuple(members))), place, joined)


def _lives(world: World, process: Process) -> bool:
    return world.tables.members[process.me - 1].state == LIVES


def _key(item: tuple[Any, ...]) -> int:
    return item[2] if item[0] == "letter" else item[1]


def _flies(base: Base) -> bool:
    history, attempt = base
    return (
        any(event.startswith("S") for event in history) and "E" not in history and (not attempt[0] or bool(attempt[1]))
    )


def _flight(history: tuple[str, ...], attempt: tuple[int, int]) -> tuple[int, int]:
    """Number and member of the attempt in the air."""
    if attempt[0]:
        return attempt
    return 1, next(int(event[1:]) for event in history if event.startswith("S"))


def _open(world: World) -> list[Txn]:
    txns = [process.txn for process in world.processes if process.txn is not None]
    return [*txns, *world.left, *(client.txn for client in world.clients if client.txn is not None)]


def _process(world: World, place: int, process: Process) -> World:
    return world._replace(processes=(*world.processes[:place], process, *world.processes[place + 1 :]))


def _client(world: World, place: int, client: Client) -> World:
    return world._replace(clients=(*world.clients[:place], client, *world.clients[place + 1 :]))


def _memory(process: Process, key: int, of: tuple[str, Any, int]) -> Process:
    return process._replace(memory=replaced(process.memory, key, of))
