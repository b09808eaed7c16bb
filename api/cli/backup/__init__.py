"""The commands `threadhouse backup` and `threadhouse restore`.

- `commands.py` owns the two commands, and what they print.
- `maker.py` makes a backup while the server runs; `restorer.py` checks one, and restores it.
- `database.py` owns the snapshot of the database: SQLite's online backup, or pg_dump and pg_restore.
- `files.py` owns the folders that are backed up, and reads them without following a link.
- `targets.py` writes files, folders and links below a folder, without following a link.
- `objects.py` owns the contents of files in a backup, each under its SHA-256; `index.py` what was read before.
- `manifest.py` owns the list of what a backup has, and checks each line of it.

A backup is a folder: `manifest.jsonl`, `objects/`, `index.sqlite3` (only saves time) and a lock. Contents never change
and the manifest is replaced last, so an interrupted backup leaves the one before as it was. Names, modes and links of
users are only in the manifest: a file system cannot refuse them, and nothing in the folder leads out of it.

What a backup promises: the database is as it was at one moment, the snapshot. Each file is as it was when it was read,
after that moment. So a workspace may have what was done after the snapshot, and lacks only what was removed after it.
"""
