"""Images: every format is decoded upright and opaque, within limits; lines are read in order."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from core.errors import FailedPrecondition, InvalidArgument, NotFound
from core.models import ModelAddress

pytest.importorskip("PIL")
from PIL import Image, ImageDraw

from perception.senses.images import opened
from perception.senses.media import media_type, sniffed
from perception.senses.reader import Line, OcrReader, ordered
from perception.senses.weights import Weights

WRITTEN = Path(__file__).parents[1] / "data" / "written.png"
TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file


def gradient(width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray((np.add.outer(np.arange(height), np.arange(width)) * 3).astype(np.uint8)).convert("RGB")


@pytest.mark.parametrize("kind", list(TYPES))
class TestFormats:
    def test_it_is_known_and_decoded(self, kind):
        file = saved(gradient(), kind)
        assert media_type("", file.getvalue()[:64]) == TYPES[kind]
        image = opened(file)
        assert (image.mode, image.size) == ("RGB", (40, 30))
        assert np.abs(np.asarray(image, int) - np.asarray(gradient(), int)).mean() < 8

    def test_cut_off_it_is_refused(self, kind):
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8))
        data = saved(noise, kind).getvalue()
        with pytest.raises(InvalidArgument) as caught:
            opened(io.BytesIO(data[: len(data) // 3]))
        assert (caught.value.field, caught.value.reason) == ("data", "BAD_IMAGE")


class TestPixels:
    def test_it_is_turned_upright(self):
        image = gradient()
        exif = Image.Exif()
        exif[0x0112] = 6  # turned by a quarter
        assert opened(saved(image, "JPEG", exif=exif)).size == (30, 40)

    def test_what_is_transparent_is_white(self):
        clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
        assert opened(saved(clear)).getpixel((1, 1)) == (255, 255, 255)
        palette = Image.new("P", (4, 4), 0)
        assert opened(saved(palette, "GIF", transparency=0)).getpixel((1, 1)) == (255, 255, 255)

    def test_sixteen_bits_keep_their_contrast(self):
        deep = Image.fromarray(np.array([[1000, 3000], [2000, 1000]], np.uint16))
        found = np.asarray(opened(saved(deep)))[:, :, 0]
        assert found.tolist() == [[0, 255], [127, 0]]

    def test_sixteen_bits_in_the_other_order_and_what_is_no_number_are_read(self):
        file = saved(Image.fromarray(np.array([[1000, 3000], [2000, 1000]], np.uint16)), "TIFF")
        swapped = Image.frombytes("I;16B", (2, 2), np.array([[1000, 3000], [2000, 1000]], ">u2").tobytes())
        for deep in (file, saved(swapped, "TIFF")):
            assert np.asarray(opened(deep))[:, :, 0].tolist() == [[0, 255], [127, 0]]
        real = Image.fromarray(np.array([[0.0, np.nan], [np.inf, 100.0]], np.float32))
        assert np.asarray(opened(saved(real, "TIFF")))[:, :, 0].tolist() == [[0, 0], [255, 255]]

    def test_a_bomb_is_refused_before_it_is_decoded(self):
        head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
        chunk = struct.pack(">I", len(head)) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
        pixels = zlib.compress(bytes(100))
        data = struct.pack(">I", len(pixels)) + b"IDAT" + pixels + struct.pack(">I", zlib.crc32(b"IDAT" + pixels))
        with pytest.raises(InvalidArgument) as caught:
            opened(io.BytesIO(b"\x89PNG\r\n\x1a\n" + chunk + data))
        assert caught.value.reason == "IMAGE_TOO_LARGE"

    def test_other_formats_are_not_even_tried(self):
        with pytest.raises(InvalidArgument, match="cannot identify"):
            opened(saved(gradient(), "PPM"))


class TestMediaTypes:
    @pytest.mark.parametrize(
        ("head", "kind"),
        [
            (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav"),
            (b"fLaC\0\0\0\x22", "audio/flac"),
            (b"OggS\0\x02", "audio/ogg"),
            (b"ID3\x04\0\0", "audio/mpeg"),
            (b"\xff\xfb\x90\x64", "audio/mpeg"),
            (b"\xff\xf3\x40\xc4", "audio/mpeg"),
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"\xff\xff\xff\xff", ""),
            (b"%PDF-1.7", ""),
            (b"RIFF\x24\0\0\0AVI LIST", ""),
        ],
    )
    def test_the_first_bytes_tell(self, head, kind):
        assert sniffed(head) == kind

    def test_names_that_mean_the_same_agree(self):
        assert media_type("audio/x-wav", b"RIFF\x24\0\0\0WAVE") == "audio/wav"
        assert media_type("AUDIO/MP3; codecs=mp3", b"ID3\x04") == "audio/mpeg"

    @pytest.mark.parametrize(
        ("given", "head", "reason", "field"),
        [
            ("", b"", "EMPTY_MEDIA", "data"),
            ("", b"hello", "MEDIA_TYPE_UNKNOWN", "data"),
            ("video/mp4", b"fLaC", "MEDIA_TYPE_UNKNOWN", "media_type"),
            ("audio/wav", b"hello", "MEDIA_TYPE_UNKNOWN", "media_type"),
            ("audio/wav", b"fLaC", "MEDIA_TYPE_MISMATCH", "media_type"),
        ],
    )
    def test_what_does_not_is_refused(self, given, head, reason, field):
        with pytest.raises(InvalidArgument) as caught:
            media_type(given, head)
        assert (caught.value.reason, caught.value.field) == (reason, field)


class TestReading:
    @pytest.fixture(scope="class")
    @staticmethod
    def reader() -> OcrReader:
        pytest.importorskip("rapidocr")
        return OcrReader(ModelAddress.parse("wheel:rapidocr"), threads=1)

    def test_it_reads_what_is_written_with_where(self, reader):
        with WRITTEN.open("rb") as file:
            found = reader.read(file)
        assert found.text.splitlines() == [
            "Library card of Nora Weber",
            "Valid until 30 June 2027",
            "Number: 4471-0092",
        ]
        assert [one.span.text for one in found.concepts] == found.text.splitlines()
        assert all(one.confidence > 0.9 for one in found.concepts)
        tops = [one.box[1] for one in found.concepts]
        assert tops == sorted(tops)
        left, top, right, bottom = found.concepts[0].box
        assert abs(left - 24) < 12
        assert abs(top - 24) < 12
        assert right > 300 > bottom

    def test_where_nothing_is_written_nothing_is_read(self, reader):
        noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
        for image in (Image.new("RGB", (300, 200), "white"), Image.fromarray(noise), Image.new("RGB", (1, 1))):
            found = reader.read(saved(image))
            assert (found.text, found.concepts) == ("", ())

    @pytest.mark.parametrize("size", [(1, 1_000), (1_000, 1), (3_000, 20), (20_000, 1), (2, 2)])
    def test_a_thin_image_is_read_as_any_other(self, reader, size):
        assert reader.read(saved(Image.new("RGB", size, "white"))).text == ""

    def test_writing_on_a_strip_keeps_its_place(self, reader):
        strip = Image.new("RGB", (1_400, 40), "white")
        ImageDraw.Draw(strip).text((10, 5), "The red kettle is on the upper shelf", fill="black", font_size=28)
        [line] = reader.read(saved(strip)).concepts
        assert line.span.text == "The red kettle is on the upper shelf"
        assert line.box[3] <= 40
        assert line.box[2] < 700

    def test_what_no_memory_could_hold_is_refused(self, reader):
        with pytest.raises(InvalidArgument, match="60000 by 10 pixels, too long for so thin a one") as caught:
            reader.read(saved(Image.new("RGB", (60_000, 10))))
        assert (caught.value.field, caught.value.reason) == ("data", "BAD_IMAGE")

    def test_an_unknown_language_is_refused(self, reader):
        with pytest.raises(InvalidArgument) as caught:
            reader.read(saved(gradient()), "qq-Zzzz")
        assert (caught.value.field, caught.value.reason) == ("language", "UNKNOWN_LANGUAGE")

    def test_lines_are_in_reading_order(self):
        def line(text: str, left: int, top: int) -> Line:
            return Line(text, 1.0, (left, top, left + 100, top + 20))

        shuffled = [line("d", 300, 104), line("b", 300, 12), line("c", 10, 100), line("a", 10, 10), line("e", 10, 130)]
        assert [one.text for one in ordered(shuffled)] == ["a", "b", "c", "d", "e"]

    def test_other_addresses_are_refused(self, tmp_path):
        with pytest.raises(InvalidArgument, match="wheel:rapidocr"):
            OcrReader(ModelAddress.parse("hf:somebody/something"))
        with pytest.raises(NotFound, match=r"\*det\*\.onnx"):
            OcrReader(ModelAddress.parse(f"file:{tmp_path}"))
        for kind in ("det", "rec"):
            (tmp_path / f"{kind}.onnx").write_bytes(b"none")
        with pytest.raises(FailedPrecondition, match="could not be loaded"):
            OcrReader(ModelAddress.parse(f"file:{tmp_path}"))


def test_weights_that_were_changed_are_not_loaded():
    pytest.importorskip("rapidocr")
    changed = Weights("rapidocr", "rapidocr/config.yaml", "0" * 64, "")
    with pytest.raises(FailedPrecondition, match="SHA-256") as caught:
        changed.path()
    assert caught.value.reason == "MODEL_CHANGED"
    with pytest.raises(NotFound, match="has no"):
        Weights("rapidocr", "rapidocr/none.onnx", "0" * 64, "").path()
    with pytest.raises(NotFound, match="not installed"):
        Weights("no-such-wheel-of-ours", "x", "0" * 64, "").path()
