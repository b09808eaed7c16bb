"""`python -m api.cli`, for child processes, which cannot rely on the `threadhouse` script being installed."""

from api.cli import main

main()
