"""The HTTP side of scoring: addresses, splitting, retries, errors, and sending, sync and async."""
