"""Dense heads of the network."""
