"""Which trials are run, in which order and where, and what is remembered of them."""
