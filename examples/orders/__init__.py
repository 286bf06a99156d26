"""An order desk that is killed at will, and the proof that nobody paid twice. Run it: `make demo`.

Read in this order:

    workflows.py     what a user of Perdure writes: the order workflow and its activities
    engine.py        the process that runs them, and that gets killed
    payments.py      a payment service with bad manners (15 % of requests fail or hang) and an honest ledger
    shop.py          stock, shipments and notifications in a database of the shop's own
    demo.py          the driver: starts the processes, kills engines, shows progress
    proof.py         looks at the ledger and the stock, not at what the engine says
    model.py         orders and receipts; make_orders.py wrote orders.jsonl
    processes.py     child processes that never outlive the driver
"""
