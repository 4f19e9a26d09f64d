"""A turn's life: from an accepted request to a logged reply, whoever is reading."""
