"""Where turns are kept: PostgreSQL, and the journal that stands in while it is away."""
