"""The dashboard: pages rendered on the server, read-only, from the same descriptions as the command line.

A page is one request: nothing is kept between two, and nothing is written. Scripts make times local, move what is
open, and ask `/live` which parts have changed; without scripts everything can still be read. docs/architecture.md has a
map of the room.
"""
