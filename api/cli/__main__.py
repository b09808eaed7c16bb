"""`python -m api.cli`, for processes that must not depend on where the `threadhouse` script was installed."""

from api.cli import main

main()
