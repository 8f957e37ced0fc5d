"""Shape vae of the network."""
