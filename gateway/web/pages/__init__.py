"""The operator's pages: the dashboard and the playground, rendered here, with assets of our own and no other host."""
