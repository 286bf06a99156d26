"""Loans that people decide on: a human task with a form, reminders, and an end. `python -m examples.loans` shows a week."""
