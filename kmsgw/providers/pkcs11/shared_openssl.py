"""What a PKCS#11 library leaves behind in the OpenSSL that it shares with Python.

SoftHSM uses the process's OpenSSL. Errors of its calls stay in OpenSSL's queue of the calling thread, where Python's
ssl takes them for its own at its next read: the thread's next call to OpenBao or PostgreSQL would fail with SoftHSM's
error. So the queue is emptied after each call. It takes half a microsecond.
"""

import _ssl
import ctypes
from collections.abc import Callable


def _find_clear() -> Callable[[], object]:
    """Return OpenSSL's ERR_clear_error, or nothing to do where Python's ssl has none that others could share."""
    # The symbol is looked for in the library and all that it is linked with.
    library = ctypes.CDLL(getattr(_ssl, "__file__", None))
    try:
        clear = library.ERR_clear_error
    except AttributeError:
        return lambda: None
    clear.argtypes, clear.restype = (), None
    return clear


forget_errors = _find_clear()
"""Empty the calling thread's queue of OpenSSL errors."""
