"""Errors that the user can mend: the exception whose message is written for the user, and lack of memory."""

import errno

SET_ANOTHER_NAME = "set another name= (of a sweep: sweep=)"  # what to do if a directory belongs to another run
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")  # as PyTorch says it


class UserError(Exception):
    """An error that the user can mend: one sentence that names the setting, its value and the fix.

    Commands print the sentence without a traceback and exit with 1.
    """


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice, which Python, PyTorch and the system say in their own ways."""
    if isinstance(error, RuntimeError):
        return any(words in str(error) for words in OUT_OF_MEMORY)
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
