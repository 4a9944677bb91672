"""What an error of a token means: the session is lost, the handle is stale, or the token refuses this one call.

Tokens don't agree on codes. Only those that leave no doubt are listed here; all others are put to the test with a
real encryption before anything is concluded from them (`connection`, `provider`).
"""

from pkcs11 import exceptions as p11

LOST = (
    p11.DeviceError,
    p11.DeviceRemoved,
    p11.SessionClosed,
    p11.SessionHandleInvalid,
    p11.SlotIDInvalid,
    p11.TokenNotPresent,
    p11.TokenNotRecognised,
    p11.UserNotLoggedIn,
)
"""The session, the login or the token is gone. Connecting again can help."""

STALE = (
    p11.KeyHandleInvalid,
    p11.ObjectHandleInvalid,
    p11.UnwrappingKeyHandleInvalid,
    p11.WrappingKeyHandleInvalid,
)
"""The handle of a key is not valid any more. Finding the key again can help (threat 20)."""


class TokenLostError(Exception):
    """The token does not serve over this connection. Never leaves the package."""


class PinRefusedError(Exception):
    """The token refuses the login. Trying again would lock the token, so nothing does. Never leaves the package.

    ``fault`` and ``advice`` are texts for a `ConfigurationError`; neither holds the PIN.
    """

    def __init__(self, fault: str, advice: str) -> None:
        super().__init__(fault)
        self.fault = fault
        self.advice = advice
