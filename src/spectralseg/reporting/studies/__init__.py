"""One-page answers to five questions about the paper, from the records of any study."""
