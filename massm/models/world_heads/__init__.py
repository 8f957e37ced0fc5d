"""World heads of the network."""
