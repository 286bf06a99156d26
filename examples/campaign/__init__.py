"""A drip campaign: mails days apart, until somebody replies. `python -m examples.campaign` shows three weeks of it."""
