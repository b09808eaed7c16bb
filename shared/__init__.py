"""What API processes and workers share: configuration, database, events, queue, protocol. Imports neither of them.

The modules beside the folders are leaves (errors, ids, clock, event names, addresses, guarded_http, redaction, the
queue): they may be imported everywhere and import each other only.
"""
