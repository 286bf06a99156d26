"""A drip campaign: a welcome, and two reminders three days apart, unless the customer replies.

    workflows.py     the campaign, which sleeps for days, and its activities
    mailbox.py       mail as files in a folder: `sent/` and `received/`
    __main__.py      a process that works through campaigns, for as long as it lives: python -m examples.drip ada@example.com

`tests/examples/test_drip.py` lives through weeks of it in milliseconds.
"""
