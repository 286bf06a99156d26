"""An engine in a process of its own: says when it is there, and stays until its standard input is closed."""

import os
import sys

import shop

from perdure import Engine

with Engine(os.environ["PERDURE_DB"], [shop]):
    print("ready", flush=True)
    sys.stdin.read()
