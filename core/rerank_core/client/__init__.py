"""The HTTP client: addresses, splitting, retries, errors, and sending, synchronous and asynchronous."""
