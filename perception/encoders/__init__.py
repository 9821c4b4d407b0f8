"""What turns text into vectors. Importing this package imports no torch; loading an encoder does."""

from perception.encoders.base import Encoded, Encoder, MultilingualEncoder

__all__ = ["Encoded", "Encoder", "MultilingualEncoder"]
