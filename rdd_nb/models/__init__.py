"""Models: networks, augmentation, the risk of a batch of losses, and the one trainer of all networks."""
