"""An engine in a process of its own, with the code of `shop` or of the module that is named: says when it is
there, and stays until its standard input is closed.
"""

import os
import sys
from importlib import import_module

from perdure import Engine

with Engine(os.environ["PERDURE_DB"], [import_module(sys.argv[1] if len(sys.argv) > 1 else "shop")]):
    print("ready", flush=True)
    sys.stdin.read()
