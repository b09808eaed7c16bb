"""Real clients against a server: the Codex TUI, `codex exec`, the official and a third-party SDK (`make clients`)."""
