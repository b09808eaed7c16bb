"""What processes exchange through Redis: a thread's event log, signals to running turns, worker calls.

Nothing that matters is only here: the store has every finished item, every input and every interrupt. May import
shared.store, shared.protocol, shared.queue and the leaves of shared; the store never imports this package.
"""
