"""Decode over the wire, on a tiny SONAR with random weights: spaces, languages, lengths, licences, and the round trip.

What such a decoder writes means nothing, but it has to be the same however it is asked. That it is what fairseq2 writes
is held by `make test-sonar`.
"""

from __future__ import annotations

import asyncio
import functools
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_sonar
from grpc import StatusCode
from refusals import async_refusal, says
from sapience.v1 import concept_pb2, perception_pb2, perception_pb2_grpc
from servers import serving
from tiny_sonar import LANGUAGES, TinySonar, address, converted

from core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from core.nouns import Space
from perception.decoders.sonar import SonarDecoder
from perception.encoders.sonar import SonarEncoder
from perception.sonar.converting import renamed
from perception.sonar.fetching import fetched
from services import assembly, wire

torch = pytest.importorskip("torch")

TEXTS = ["the cat sleeps", "a red bird sings near the river", "dog", "over under over"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinySonar:
    return tiny_sonar.make(tmp_path_factory.mktemp("sonar") / "tiny")


@pytest.fixture(scope="module")
def folder(tiny: TinySonar, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(tiny, tmp_path_factory.mktemp("converted"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> SonarEncoder:
    return SonarEncoder(address(folder / "encoder"), device="cpu", threads=1)


@pytest.fixture(scope="module")
def decoder(folder: Path) -> SonarDecoder:
    return SonarDecoder(address(folder / "decoder"), device="cpu", threads=1)


class TestVectors:
    def test_a_text_s_vector_does_not_depend_on_its_batch(self, encoder):
        together = encoder.encode(TEXTS, language="en").vectors
        alone = np.concatenate([encoder.encode([text], language="eng_Latn").vectors for text in TEXTS])
        np.testing.assert_allclose(together, alone, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
        assert np.abs(together - encoder.encode(TEXTS, language="fr").vectors).max() > 1e-3

    def test_a_long_text_is_the_mean_of_its_pieces_and_nothing_is_lost(self, encoder):
        pieces = ["the cat sleeps near the river. " * 7, "a red bird sings over the house. " * 7]
        assert all(200 < len(piece) <= 250 for piece in pieces)
        found = encoder.encode(["".join(pieces), "dog"])
        assert found.truncated == 0
        from perception.segment import segment

        cut = [span.text for span in segment("".join(pieces), max_chars=250)]
        assert len(cut) > 1
        mean = encoder.encode(cut).vectors.astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(found.vectors[0], mean / np.linalg.norm(mean), atol=1e-6)

    def test_a_language_that_it_does_not_know_is_named(self, encoder, decoder):
        with pytest.raises(InvalidArgument, match="eng_Latn, fra_Latn, deu_Latn") as raised:
            encoder.encode(TEXTS, language="jpn_Jpan")
        assert (raised.value.reason, raised.value.field) == ("UNKNOWN_LANGUAGE", "language")
        with pytest.raises(InvalidArgument, match="no BCP 47 tag"):
            decoder.decode(np.ones((1, 32), np.float32), language="?")

    def test_blank_texts_are_refused_and_none_is_fine(self, encoder):
        with pytest.raises(InvalidArgument, match="text 1 of 2 is blank"):
            encoder.encode(["dog", " "])
        assert encoder.encode([]).vectors.shape == (0, 32)

    def test_a_vector_s_text_does_not_depend_on_its_batch(self, encoder, decoder):
        found = encoder.encode(TEXTS * 3)
        own = found.vectors * found.lengths[:, None]
        together = decoder.decode(own, language="de")
        assert list(together) == [decoder.decode(row[None], language="deu_Latn")[0] for row in own]


class TestConverting:
    def test_the_older_form_is_the_same_model(self, tiny, folder, encoder, decoder, tmp_path):
        """fairseq's own names are Hugging Face's, under state_dict, with a version and positions beside the weights."""
        old = {}
        for part, path in (("encoder", tiny.encoder), ("decoder", tiny.decoder)):
            weights = renamed(part, torch.load(path, weights_only=True))
            weights |= {"version": torch.tensor([3.0]), "embed_positions._float_tensor": torch.zeros(1)}
            if part == "decoder":
                weights["output_projection.weight"] = weights["embed_tokens.weight"]
            old[part] = tmp_path / f"{part}.pt"
            torch.save({"state_dict": weights}, old[part])
        again = converted(tiny, tmp_path / "again", **old)
        other = SonarEncoder(address(again / "encoder"), device="cpu", threads=1)
        np.testing.assert_array_equal(encoder.encode(TEXTS).vectors, other.encode(TEXTS).vectors)
        vectors = encoder.encode(TEXTS).vectors * decoder.mean_length
        other_decoder = SonarDecoder(address(again / "decoder"), device="cpu", threads=1)
        assert list(other_decoder.decode(vectors)) == list(decoder.decode(vectors))

    def test_the_usual_length_is_measured_and_the_decoder_keeps_it(self, encoder, decoder):
        assert encoder.mean_length == decoder.mean_length > 0
        assert encoder.space == decoder.space == Space("tiny", "1", 32)

    @pytest.mark.parametrize(
        ("changed", "complaint"),
        [
            ({"heads": 5}, "not a multiple of 5 heads"),
            ({"languages": ("eng_Latn",)}, "97 embeddings"),
        ],
        ids=["heads", "languages"],
    )
    def test_what_does_not_fit_is_refused_and_leaves_nothing(self, tiny, tmp_path, changed, complaint):
        with pytest.raises(FailedPrecondition, match=complaint):
            converted(tiny, tmp_path / "out", **changed)
        assert list((tmp_path / "out").iterdir()) == []

    def test_other_files_are_refused(self, tiny, tmp_path):
        for data in (b"", b"none", tiny.pieces.read_bytes()):
            path = tmp_path / "other.pt"
            path.write_bytes(data)
            with pytest.raises(FailedPrecondition, match="could not be read as a checkpoint") as raised:
                converted(tiny, tmp_path / "out", encoder=path)
            assert raised.value.reason == "MODEL_LOAD_FAILED"
        with pytest.raises(FailedPrecondition, match="no encoder_frontend"):
            converted(tiny, tmp_path / "out", encoder=tiny.decoder)
        with pytest.raises(NotFound, match="there is no file"):
            converted(tiny, tmp_path / "out", encoder=tmp_path / "nowhere.pt")

    def test_a_weight_too_few_or_too_many_is_refused(self, tiny, tmp_path):
        whole = torch.load(tiny.encoder, weights_only=True)["model"]
        for name, change in (("few", {}), ("many", {**whole, "extra.weight": torch.zeros(3)})):
            weights = change or {key: value for key, value in whole.items() if "layers.1.ffn.inner" not in key}
            torch.save({"model": weights}, tmp_path / f"{name}.pt")
            with pytest.raises(FailedPrecondition, match="missing or not known"):
                converted(tiny, tmp_path / name, encoder=tmp_path / f"{name}.pt", decoder=None)
        whole = torch.load(tiny.decoder, weights_only=True)["model"]
        torch.save({"model": {key: value for key, value in whole.items() if "k_proj" not in key}}, tmp_path / "d.pt")
        with pytest.raises(FailedPrecondition, match="missing or not known"):
            converted(tiny, tmp_path / "d", encoder=None, decoder=tmp_path / "d.pt")
        assert list((tmp_path / "d").iterdir()) == []

    def test_nothing_is_written_over(self, tiny, folder):
        with pytest.raises(AlreadyExists, match="remove it"):
            converted(tiny, folder)


class TestLicences:
    def test_one_that_bars_commerce_is_shown_and_accepted_before_the_weights_load(self, tiny, tmp_path):
        out = converted(tiny, tmp_path / "nc", licence="CC-BY-NC-4.0")
        for kind, part in ((SonarEncoder, "encoder"), (SonarDecoder, "decoder")):
            with pytest.raises(FailedPrecondition, match="SAPIENCE_ACCEPT_LICENCES=CC-BY-NC-4") as raised:
                kind(address(out / part), device="cpu", threads=1)
            assert raised.value.reason == "LICENCE_NOT_ACCEPTED"
            assert kind(address(out / part), device="cpu", threads=1, accepted={"cc-by-nc-4.0"}).licence
        with pytest.raises(FailedPrecondition, match="SONAR's encoder"):
            SonarDecoder(address(out / "encoder"), device="cpu", accepted={"CC-BY-NC-4.0"})


@asynccontextmanager
async def service(tmp_path: Path, **settings: Any) -> AsyncIterator[perception_pb2_grpc.PerceptionServiceStub]:
    def services(loaded: Any, at: str) -> list[Any]:
        return [assembly.build("perception", loaded, assembly.Links(loaded, at))]

    async with serving(tmp_path, services, device="cpu", threads=1, codec="", **settings) as served:
        yield perception_pb2_grpc.PerceptionServiceStub(served.channel)


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


def decode(vectors: Any, **fields: Any) -> perception_pb2.DecodeRequest:
    return perception_pb2.DecodeRequest(vectors=vectors, **fields)


def test_each_text_is_encoded_in_the_language_that_its_words_tell(tmp_path, folder, encoder):
    texts = {
        "Die Katze schläft heute auf dem warmen Dach des Hauses.": "deu_Latn",
        "The dog waited for her at the door of the old house.": "eng_Latn",
        "Le chat dort sur le toit de la maison depuis ce matin.": "fra_Latn",
        "Der Hund wartet seit gestern vor der Tür.": "deu_Latn",
        "Il gatto dorme da ieri sul tetto della casa di mia nonna.": "",  # no language of this model
        "42": "",
    }

    async def work() -> None:
        async with service(tmp_path, encoder=str(address(folder / "encoder"))) as stub:
            told = await stub.Encode(perception_pb2.EncodeRequest(texts=list(texts)), wait_for_ready=True, timeout=60)
            own = [encoder.encode([text], language=code) for text, code in texts.items()]
            vectors = np.concatenate([one.vectors for one in own])
            found, _ = wire.tensor_from(told.vectors, len(texts), "vectors")
            np.testing.assert_allclose(found, vectors, atol=1e-5)
            np.testing.assert_allclose(told.lengths, np.concatenate([one.lengths for one in own]), rtol=1e-5)
            english = encoder.encode(list(texts), language="en").vectors
            assert np.abs(english[0] - vectors[0]).max() > 1e-3  # the language matters

    run(work)


def test_texts_become_vectors_and_vectors_texts(tmp_path, folder, encoder, decoder):
    async def work() -> None:
        at = {part: str(address(folder / part)) for part in ("encoder", "decoder")}
        async with service(tmp_path, encoder=at["encoder"], decoders=at["decoder"]) as stub:
            found = await stub.Encode(
                perception_pb2.EncodeRequest(texts=TEXTS, language="fr"), wait_for_ready=True, timeout=60
            )
            own = encoder.encode(TEXTS, language="fr")
            np.testing.assert_allclose(found.lengths, own.lengths, rtol=1e-5)
            answer = await stub.Decode(decode(found.vectors, lengths=found.lengths, language="de"), timeout=60)
            assert list(answer.texts) == list(decoder.decode(own.vectors * own.lengths[:, None], language="de"))
            assert answer.model == at["decoder"]
            read = encoder.encode([text or "." for text in answer.texts], language="de").vectors
            cosines = [float(row @ ask) if text.strip() else 0.0
                       for row, ask, text in zip(read, own.vectors, answer.texts, strict=True)]  # fmt: skip
            np.testing.assert_allclose(answer.round_trip, cosines, atol=1e-5)
            usual = await stub.Decode(decode(found.vectors, language="de"), timeout=60)
            assert list(usual.texts) == list(decoder.decode(own.vectors * decoder.mean_length, language="de"))
            models = (await stub.ListModels(perception_pb2.PerceptionServiceListModelsRequest())).models
            assert [(one.kind, one.space, one.licence) for one in models][:2] == [
                (kind, "tiny", "CC0-1.0") for kind in (concept_pb2.MODEL_KIND_ENCODER, concept_pb2.MODEL_KIND_DECODER)
            ]

    run(work)


def test_bad_requests_say_what_is_wrong(tmp_path, folder):
    async def work() -> None:
        at = {part: str(address(folder / part)) for part in ("encoder", "decoder")}
        async with service(tmp_path, encoder=at["encoder"], decoders=at["decoder"]) as stub:
            vectors = wire.tensor_to(np.eye(2, 32, dtype=np.float32), Space("tiny", "1", 32))
            other = wire.tensor_to(np.eye(2, 32, dtype=np.float32), Space("other", "1", 32))
            newer = wire.tensor_to(np.eye(2, 32, dtype=np.float32), Space("tiny", "2", 32))
            nothing = wire.tensor_to(np.zeros((2, 32), np.float32), Space("tiny", "1", 32))
            many = wire.tensor_to(np.eye(1025, 32, dtype=np.float32), Space("tiny", "1", 32))
            bad, failed = StatusCode.INVALID_ARGUMENT, StatusCode.FAILED_PRECONDITION
            for request, code, reason, field, words in (
                (decode(other), failed, "SPACE_MISMATCH", "vectors", ("other@1", "tiny@1")),
                (decode(newer), failed, "SPACE_MISMATCH", "vectors", ("tiny@2", "tiny@1")),
                (decode(None), bad, "BAD_BATCH", "vectors.shape", ("holds 0",)),
                (decode(many), bad, "BAD_BATCH", "vectors.shape", ("1025",)),
                (decode(nothing), bad, "BAD_TENSOR", "vectors.data", ("zero",)),
                (decode(vectors, lengths=[1.0]), bad, "INVALID_FIELD", "lengths", ("1 numbers for 2",)),
                (decode(vectors, lengths=[1.0, -1.0]), bad, "INVALID_FIELD", "lengths", ("above 0",)),
                (decode(vectors, language="ja"), bad, "UNKNOWN_LANGUAGE", "language", ("'ja'",)),
                (decode(vectors, model="file:/no"), StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", "model", (at["decoder"],)),
            ):
                refused = await async_refusal(stub.Decode(request, wait_for_ready=True, timeout=60))
                says(refused, code, reason, field, *words)
            medium = perception_pb2.Medium(data=b"RIFF")
            refused = await async_refusal(stub.Encode(perception_pb2.EncodeRequest(media=[medium])))
            says(refused, bad, "NO_SPEECH", "model", "hears no speech")
            assert (await stub.Decode(decode(vectors), timeout=60)).texts, "alive"

    run(work)


def test_without_the_encoder_beside_it_there_is_no_round_trip(tmp_path, folder):
    async def work() -> None:
        decoders = f"sonar:text_sonar_basic_decoder, {address(folder / 'decoder')}"
        async with service(tmp_path, decoders=decoders) as stub:
            vectors = wire.tensor_to(np.eye(2, 32, dtype=np.float32), Space("tiny", "1", 32))
            answer = await stub.Decode(decode(vectors), wait_for_ready=True, timeout=60)
            assert len(answer.texts) == 2
            assert not answer.round_trip
            refused = await async_refusal(stub.Decode(decode(vectors, model="sonar:text_sonar_basic_decoder")))
            says(refused, StatusCode.FAILED_PRECONDITION, "MODEL_LIBRARY_MISSING", "", "convert-sonar")

    run(work)


def test_a_licence_that_was_not_accepted_is_told_over_the_wire(tmp_path, tiny):
    out = converted(tiny, tmp_path / "nc", licence="CC-BY-NC-4.0", encoder=None)

    async def work(accepted: str) -> None:
        decoders = str(address(out / "decoder"))
        async with service(tmp_path / accepted, decoders=decoders, accept_licences=accepted) as stub:
            vectors = wire.tensor_to(np.eye(1, 32, dtype=np.float32), Space("tiny", "1", 32))
            call = stub.Decode(decode(vectors, lengths=[1.0]), wait_for_ready=True, timeout=60)
            if accepted:
                assert len((await call).texts) == 1
                refused = await async_refusal(stub.Decode(decode(vectors)))
                says(refused, StatusCode.INVALID_ARGUMENT, "LENGTHS_NEEDED", "lengths", "usual length")
            else:
                refused = await async_refusal(call)
                says(refused, StatusCode.FAILED_PRECONDITION, "LICENCE_NOT_ACCEPTED", "", "CC-BY-NC-4.0")

    run(lambda: work(""))
    run(lambda: work("CC-BY-NC-4.0"))


def test_every_language_has_a_token_of_its_own(encoder):
    tokens = {encoder._vocabulary.language(code) for code in LANGUAGES}
    assert len(tokens) == len(LANGUAGES)


class TestCommand:
    def convert(
        self, tmp_path: Path, *options: str, accepted: str = "CC-BY-NC-4.0"
    ) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-c",
            "from services.cli.main import main; main()",
            "models",
            "convert-sonar",
            str(tmp_path / "out"),
            *options,
        ]
        env = {name: value for name, value in os.environ.items() if not name.startswith("SAPIENCE_")}
        env |= {"SAPIENCE_ACCEPT_LICENCES": accepted, "SAPIENCE_CACHE_DIR": str(tmp_path / "cache"), "COLUMNS": "400"}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=240)

    def test_one_command_downloads_converts_and_says_how_to_serve(self, tiny, tmp_path, encoder):
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tiny.encoder.parent))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
            threading.Thread(target=web.serve_forever, daemon=True).start()
            at = f"http://127.0.0.1:{web.server_port}"
            done = self.convert(
                tmp_path, "--encoder", f"{at}/encoder.pt", "--decoder", str(tiny.decoder), "--pieces", str(tiny.pieces),
                "--languages", ",".join(LANGUAGES), "--heads", "4", "--max-tokens", "24", "--space", "tiny@1",
            )  # fmt: skip
            web.shutdown()
        assert done.returncode == 0, done.stderr
        assert f"SAPIENCE_ENCODER=file:{tmp_path}/out/encoder" in done.stdout.replace("\n", "")
        found = SonarEncoder(address(tmp_path / "out" / "encoder"), device="cpu", threads=1, accepted={"CC-BY-NC-4.0"})
        np.testing.assert_array_equal(found.encode(TEXTS).vectors, encoder.encode(TEXTS).vectors)
        assert found.licence == "CC-BY-NC-4.0", "as official weights are, unless one says otherwise"

    def test_nothing_is_downloaded_before_the_licence_is_accepted(self, tmp_path):
        done = self.convert(tmp_path, accepted="")
        assert done.returncode == 1
        assert "CC-BY-NC-4.0" in done.stderr
        assert not (tmp_path / "cache").exists()

    def test_a_download_that_fails_is_told_and_leaves_nothing(self, tmp_path):
        with pytest.raises(Unavailable, match="could not be downloaded") as raised:
            fetched("http://127.0.0.1:9/encoder.pt", tmp_path / "cache")
        assert raised.value.reason == "MODEL_HUB_UNAVAILABLE"
        assert list((tmp_path / "cache").iterdir()) == []
