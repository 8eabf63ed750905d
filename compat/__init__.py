"""Other people's clients against our server, and our client against other people's servers: ``make compat``."""
