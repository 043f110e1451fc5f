"""To and from other tools: predictions in native geometry, other people's predictions, nnU-Net, exported models."""
