"""Subscriptions that are billed month by month, for years. Run it: `python -m examples.subscriptions`.

Read in this order:

    workflows.py     what a user of Perdure writes: a subscription that continues as new each year, a bill that is its child
    bank.py          the bank, with its ledger: outside of the engine
    __main__.py      three customers, and eight years of them in a second
"""
