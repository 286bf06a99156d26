"""A rolling deploy: the code of a workflow changes while its runs are open. Run it: `python -m examples.rolling`.

Read in this order:

    monday.py        the workflow as it was
    careless.py      the change without a thought of the runs that are open; it is found before it is deployed
    tuesday.py       the same change, marked with `patched`: old runs end the old way, new ones go the new way
    wednesday.py     the second deploy: no run goes the old way any more
    steps.py         the activities, the same in all of them
    __main__.py      the engines of each day as processes of their own, and `perdure check` before each deploy
"""
