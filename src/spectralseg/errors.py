"""The one exception that stands for a problem the user can mend."""


class InputError(Exception):
    """Bad input, told in one sentence: which file or key, what is wrong, and what to do.

    The command line prints the sentence without a traceback and exits with status 1.
    """
