"""The web console in a real browser against a real server (`make console-test`), and recordings for its unit tests."""
