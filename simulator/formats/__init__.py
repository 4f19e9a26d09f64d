"""The wire formats: how a request is read, how a reply, an error and a broken stream are written."""
