"""The journal: the only writer of a worker process. It stores the rows of all its turns, then publishes their events.

journal.py       Journal: what turns call, and the writer's thread with its rounds
claimed_turn.py  ClaimedTurn and JournalEntry: what the parts below share, and who may touch which field
committer.py     rows of many turns in one transaction
publisher.py     events of many turns in one pipeline; refills a log that Redis lost
deltas.py        joins deltas of one text
leases.py        renews leases; revokes a claim whose lease may be over

Imports shared and workers.control. Knows nothing of models, tools or what a turn does.
"""
