"""Download of single files, one module per kind of address."""
