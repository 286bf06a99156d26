"""How fast Perdure is, beside bare commits of the same bytes: `make bench`, or `python -m bench throughput latency`.

One file per benchmark, each with a function `measure(setting)` that gives figures. Each runs in a fresh process, on a
database in a temporary folder. Nothing here passes or fails but by the targets in the table; no test depends on time.
"""
