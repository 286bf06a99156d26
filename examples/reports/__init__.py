"""A year's report, assembled by workers in three processes, of which one is killed. Run it: `python -m examples.reports`.

Read in this order:

    workflows.py     what a user of Perdure writes: one step per shop on a queue, then the page with all of them
    sales.py         makes up what the shops sell, the same for the same shop
    page.py          the report as a page with a chart for each shop
    __main__.py      starts the run and the workers, kills one of them, and shows how it gets on
"""
