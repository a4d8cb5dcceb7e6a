"""Our figures beside the alternatives, measured interleaved in one process."""
