"""How fast the gateway is, beside a direct call and the least that a gateway of the same parts can do."""
