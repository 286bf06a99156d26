"""`crash_everywhere`: the user's own workflow, with an engine that dies at every place where that could hurt.

```
   everywhere.py  what is asked for -> a report         report.py   what came out, in words (table.py)
     trial.py     one run with one crash, all its lives   judge.py    is it what comes out when nothing happens?
       life.py    an engine from its birth to its death   watch.py    who was called, and what is recorded
       world.py   dies where it shall, skips time         loop.py     an event loop by the clock of that world
       crew.py    a worker of queues, which dies alone      findings.py what is found, the same told once
      points.py   the places                              words.py    commits in words
```

All lives of a trial share a store in memory, as processes share a database. A life that ends by a crash leaves what it had
in the air where it stands: nothing of it runs on, no `finally` and no `except`, as when a process is killed. Activities
begin one after the other, and the clock stands still as long as anything is at hand, so a trial is the same each time.
"""
