"""Where a consumer's events come from, and which copy of a service consumes what."""
