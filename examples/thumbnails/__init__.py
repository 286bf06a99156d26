"""A thousand pictures are drawn and made small, in processes of which some die. Run it: `python -m examples.thumbnails`,
which needs Pillow, one of the development tools.

Read in this order:

    workflows.py     what a user of Perdure writes: fan-out over the pictures, fan-in to a sheet with all of them
    pictures.py      draws hills and suns, the same for the same number
    __main__.py      starts the run, and shows how it gets on
"""
