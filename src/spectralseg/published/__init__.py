"""Numbers and claims of papers: parsing, and checks of their mutual consistency, without any run."""
