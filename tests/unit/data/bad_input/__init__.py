"""A corpus of malformed data: every entry spoils a valid little phantom in one way and says how that must end.

One module per kind of file, each with a list ``ENTRIES``.
"""
