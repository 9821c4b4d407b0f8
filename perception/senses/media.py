"""What kind of file it is, by its first bytes: the signatures of the formats that are heard and read, and no others."""

from __future__ import annotations

from core.errors import InvalidArgument

HEAD_BYTES = 64
"""So many of the first bytes tell every kind."""

AUDIO = ("audio/wav", "audio/flac", "audio/ogg", "audio/mpeg")
IMAGES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff")

_SAME = {
    "audio/wave": "audio/wav", "audio/x-wav": "audio/wav", "audio/vnd.wave": "audio/wav", "audio/x-flac": "audio/flac",
    "audio/opus": "audio/ogg", "audio/vorbis": "audio/ogg", "application/ogg": "audio/ogg", "audio/mp3": "audio/mpeg",
    "audio/x-mp3": "audio/mpeg", "image/jpg": "image/jpeg", "image/x-ms-bmp": "image/bmp", "image/x-bmp": "image/bmp",
    "image/tif": "image/tiff", "image/x-png": "image/png",
}  # fmt: skip
_READ = "WAV, FLAC, OGG and MP3 are heard; PNG, JPEG, WebP, GIF, BMP and TIFF are read"


def sniffed(head: bytes) -> str:
    """The media type that the first bytes tell, empty where they tell none of ours."""
    for signature, kind in (
        (b"fLaC", "audio/flac"),
        (b"OggS", "audio/ogg"),
        (b"ID3", "audio/mpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"II*\0", "image/tiff"),
        (b"MM\0*", "image/tiff"),
        (b"BM", "image/bmp"),
    ):
        if head.startswith(signature):
            return kind
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "audio/wav"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return "audio/mpeg" if _begins_mp3(head) else ""


def _begins_mp3(head: bytes) -> bool:
    """A frame header of MPEG audio layer III (ISO 11172-3, 2.4.1.3) with a bit rate and a sampling rate that exist."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2 or head[1] & 0x18 == 0x08:
        return False
    return 0 < head[2] >> 4 < 15 and (head[2] >> 2) & 3 != 3


def media_type(given: str, head: bytes, field: str = "media_type", data_field: str = "data") -> str:
    """The media type of a file: what was given and what its first bytes tell have to agree.

    Raises InvalidArgument: EMPTY_MEDIA where there are no bytes, MEDIA_TYPE_UNKNOWN for a kind that is neither heard
    nor read, MEDIA_TYPE_MISMATCH where the bytes are of another.
    """
    if not head:
        raise InvalidArgument(
            "the file is empty: it has no bytes; send a whole file", field=data_field, reason="EMPTY_MEDIA"
        )
    told = sniffed(head)
    named = given.partition(";")[0].strip().lower()
    named = _SAME.get(named, named)
    if named and named not in AUDIO + IMAGES:
        raise InvalidArgument(
            f"{field} is {given[:80]!r}, which is neither heard nor read; {_READ}",
            field=field,
            reason="MEDIA_TYPE_UNKNOWN",
        )
    if not told:
        raise InvalidArgument(
            f"the file begins with {head[:8]!r}, which is no file that is heard or read; {_READ}: convert it first",
            field=field if given else data_field,
            reason="MEDIA_TYPE_UNKNOWN",
        )
    if named and named != told:
        raise InvalidArgument(
            f"{field} is {given!r}, but the file is {told}; name that, or leave it empty", field=field,
            reason="MEDIA_TYPE_MISMATCH",
        )  # fmt: skip
    return told
