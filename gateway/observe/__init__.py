"""What the operator sees: logs, prices, numbers."""
