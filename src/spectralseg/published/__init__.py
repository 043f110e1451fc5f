"""Numbers and claims of papers: reading them, and checking whether they can be true together; no runs are involved."""
