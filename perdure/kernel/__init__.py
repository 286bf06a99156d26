"""What may happen to a run: pure, and without a clock, a thread, a file or a random number.

The theory of the house on one page:

- A **message** arrives (`messages`): start, an activity's result, a timer that is due, cancel, ...
- `decide(run, message, now)` turns it into **events** (`events`). It is the only place that refuses.
- `evolve(run, event)` folds each event into the run's state (`run`). It cannot fail.
- Events a **program** must see are shown to it, one at a time (`program`); it answers with
  **commands** (`commands`), and `decide` turns those into events as well.
- `project(run, events)` derives every row a store writes from those events (`project`); events and
  rows are written in one transaction, and only then may anybody outside see an effect of them.

Events come in two kinds. *History* events are what the program said and what it was told; they are
append-only, numbered without gaps, and replayed. *Status* events tell how the engine fares with the run
(an attempt failed, the run is blocked by a bug); they are folded into the same state and projected into
rows of their own, bounded per step, and are never shown to a program. So a step that is retried for a
year does not make a history that takes a year to replay.

`wire` turns events and messages into bytes and back; `policy` computes retries; `limits` names each bound.
"""
