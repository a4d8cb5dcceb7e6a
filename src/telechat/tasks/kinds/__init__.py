"""One task kind a file; `telechat.tasks.registry` knows them by name."""
