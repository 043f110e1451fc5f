"""Training: batches as a pure function of seed and iteration, the loop, and its resumable state."""
