"""Share studies: bundles without images and weights, and comparisons across laboratories. See docs/share-a-study.md."""
