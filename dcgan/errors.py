"""The one exception that a person is meant to read."""


class UserError(Exception):
    """Something the user can mend: one sentence that names the setting, its value and the fix.

    Commands print the sentence without a traceback and exit with 1.
    """
