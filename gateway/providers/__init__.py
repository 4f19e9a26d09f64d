"""The wire formats: pure functions between the gateway's values and each provider's bytes."""
