"""The one exception whose message is written for the user."""


class UserError(Exception):
    """An error that the user can mend: one sentence that names the setting, its value and the fix.

    Commands print the sentence without a traceback and exit with 1.
    """
