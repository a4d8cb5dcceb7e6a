"""Where foreign code runs: outside our process, confined, with limits that do not depend on the clock."""
