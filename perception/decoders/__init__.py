"""What turns vectors into text. Importing this package imports no torch; loading a decoder does."""

from perception.decoders.base import Decoder

__all__ = ["Decoder"]
