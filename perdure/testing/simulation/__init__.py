"""A simulator: a seed decides what workflows do, how attempts end, what clients ask, and when the process dies.

One thread, and no clock but one that jumps. The kernel, the Python language, the owner with its cycle, and the store are the
real ones; only the world, and whoever runs attempts, are replaced. A crash throws away all that is in memory, and a new
owner goes on. After each commit the promises of docs/guarantees.md are checked, and in the end the outcome of each run is
compared with that in a life that nothing disturbed. The same seed gives the same trace, to the byte:

    python -m perdure.testing.simulation --seed 7 --crash-at 4

 plan.py    what a seed decides           programs.py   the workflow that performs any program, and its activities
 values.py  what must come out of it      families.py   parts of programs that are other runs
                                          changing.py   parts whose code changes
                                          talks.py      parts that wait for somebody outside; a workflow that answers
 life.py    the cycle, driven by hand     world.py      the clock, and what happens when
 crew.py    how attempts end              clients.py    who starts, cancels and ends runs
 people.py  who answers human tasks       talkers.py    who tells runs something
 graves.py  runs that ended long ago      visitors.py   who comes for them all the same
 flows.py   what attempts write to streams
 staff.py   workers of queues             operators.py  who has blocked runs tried again
 checks.py  what must always hold         histories.py  of each history     trace.py  a line for each thing that happens
 reasons.py why each run will go on       leaks.py      what may be left when runs have ended
                                          shrinking.py  the smallest plan that breaks the same promise, as a test
 batches.py many lives, for a time         showing.py    how far they have come
"""
