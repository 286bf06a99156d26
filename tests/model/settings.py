"""What is explored of the protocol as it is: small settings at every run of the tests, larger ones by `make soak`."""

from tests.model.protocol import Setting

ACTIVITY, RETRIED, LETTERS = ("activity",), ("retried",), ("letters",)
ONE, TWO = ((1, "a"),), ((1, "a"), (1, "b"))
BOXED = ((0, 1, "x"),)

SMALL: dict[str, Setting] = {
    "two letters": Setting(sent=TWO),
    "a letter that is sent twice": Setting(sent=((1, "a"), (1, "a"))),
    "a letter for a run that is not there": Setting(sent=((0, "a"),)),
    "a caller in a process": Setting(sent=ONE, boxed=BOXED),
    "two runs": Setting(runs=LETTERS * 2, sent=((1, "a"), (2, "b"))),
    "an activity, and a crash": Setting(runs=ACTIVITY, crashes=1),
    "an activity that is retried": Setting(runs=RETRIED),
    "an activity, and a process that leaves": Setting(runs=ACTIVITY, leaves=1),
    "a run that begins, and a crash": Setting(begins=True, crashes=1),
    "a connection that is lost": Setting(losses=1),
    "a connection that is lost, and an activity": Setting(runs=ACTIVITY, losses=1),
    "a living member that is declared dead": Setting(kills=1),
    "the same, and an activity": Setting(runs=ACTIVITY, kills=1),
    "the same, and a caller in a process": Setting(sent=(), kills=1, boxed=BOXED),
    "a run that is left in motion, and a connection that is lost": Setting(sent=(), runs=ACTIVITY, left=True, losses=1),
    "the same, and a client that idles in its transaction": Setting(runs=ACTIVITY, sent=TWO, idles=("b",), losses=1),
    "a run that is left in motion, and another crash": Setting(
        processes=3, sent=(), runs=ACTIVITY, left=True, crashes=1
    ),
    "members that declare each other dead": Setting(sent=(), kills=2),
}

LARGE: dict[str, Setting] = {
    "two living members that are declared dead": Setting(kills=2),
    "a crash, a connection that is lost, and an activity": Setting(runs=ACTIVITY, crashes=1, losses=1),
    "a living member that is declared dead, and a connection that is lost": Setting(kills=1, losses=1),
    "the same, and an activity ": Setting(runs=ACTIVITY, kills=1, losses=1),
    "a caller in a process, and a connection that is lost": Setting(losses=1, boxed=BOXED),
    "a caller in a process, a letter, and a living member that is declared dead": Setting(kills=1, boxed=BOXED),
    "a crash and a restart": Setting(runs=ACTIVITY, crashes=1, restarts=True),
    "a crash, and a living member that is declared dead": Setting(runs=ACTIVITY, kills=1, crashes=1),
    "two runs, and a connection that is lost": Setting(runs=LETTERS * 2, sent=((1, "a"), (2, "b")), losses=1),
    "three processes, and a living member that is declared dead": Setting(processes=3, kills=1),
    "three processes, a run left in motion, a crash and a loss": Setting(
        processes=3, sent=(), runs=ACTIVITY, left=True, crashes=1, losses=1
    ),
    "an activity that is retried, and a living member that is declared dead": Setting(runs=RETRIED, kills=1),
    "an activity that is retried, and a connection that is lost": Setting(runs=RETRIED, losses=1),
    "a process that leaves, and a connection that is lost": Setting(runs=ACTIVITY, leaves=1, losses=1),
    "two connections that are lost": Setting(losses=2),
    "two letters, and a connection that is lost": Setting(sent=TWO, losses=1),
    "two letters, and a living member that is declared dead": Setting(sent=TWO, kills=1),
}
