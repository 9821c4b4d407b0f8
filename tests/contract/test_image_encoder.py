"""Encoders of images and texts: tiny CLIP and SigLIP checkpoints, as transformers has them, and over the wire."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import numpy as np
import pytest

from core.errors import FailedPrecondition, InvalidArgument
from core.models import ModelAddress

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("PIL")
import torch
import transformers
from PIL import Image
from refusals import async_refusal, says
from sapience.v1 import concept_pb2, perception_pb2, perception_pb2_grpc
from servers import serving

from perception.encoders.image import ClipEncoder
from services import assembly

TEXTS = ["a red square", "a blue circle in the corner", "x"]


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: place for place, letter in enumerate(alphabet)} | {"<start>": 298, "<end>": 299}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 298), ("<end>", 299)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<start>", eos_token="<end>", pad_token="<end>", model_max_length=40
    ).save_pretrained(folder)


def save(folder: Path, family: str) -> ModelAddress:
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = shape | {"vocab_size": 300, "max_position_embeddings": 40, "bos_token_id": 298, "eos_token_id": 299}
    vision = shape | {"image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    if family == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
        model = transformers.CLIPModel(config)
        size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
        kind = "CLIPImageProcessor"
    else:
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        model = transformers.SiglipModel(config)
        size = {"size": {"height": 32, "width": 32}}
        kind = "SiglipImageProcessor"
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.2)
    model.eval().save_pretrained(folder)
    save_tokenizer(folder)
    getattr(transformers, kind)(**size).save_pretrained(folder)
    return ModelAddress.parse(f"file:{folder}")


def png(color: tuple[int, int, int], size: tuple[int, int] = (50, 40)) -> bytes:
    pixels = np.full((size[1], size[0], 3), color, np.uint8)
    pixels[: size[1] // 2, : size[0] // 3] = 255 - pixels[: size[1] // 2, : size[0] // 3]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


PICTURES = [png((200, 30, 30)), png((30, 30, 200), (90, 33)), png((0, 120, 0), (32, 32))]


@pytest.fixture(scope="module", params=["clip", "siglip"])
def address(request, tmp_path_factory) -> ModelAddress:
    return save(tmp_path_factory.mktemp("models") / request.param, request.param)


@pytest.fixture(scope="module")
def encoder(address) -> ClipEncoder:
    return ClipEncoder(address, device="cpu", threads=1)


def unit(vectors) -> np.ndarray:
    values = getattr(vectors, "pooler_output", vectors).numpy()
    return values / np.linalg.norm(values, axis=1, keepdims=True)


class TestVectors:
    def test_they_are_those_of_transformers(self, address, encoder):
        folder = str(address).removeprefix("file:")
        model = transformers.AutoModel.from_pretrained(folder).eval()
        prepare = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        padding = "max_length" if "siglip" in folder else False
        with torch.inference_mode():
            images = [
                unit(model.get_image_features(**prepare(images=Image.open(io.BytesIO(one)), return_tensors="pt")))[0]
                for one in PICTURES
            ]
            texts = []
            for one in TEXTS:
                tokens = tokenizer(one, padding=padding, max_length=40, return_tensors="pt")
                given = {name: tokens[name] for name in ("input_ids", "attention_mask")}
                texts.append(unit(model.get_text_features(**given))[0])
        found = encoder.encode_media([io.BytesIO(one) for one in PICTURES])
        np.testing.assert_allclose(found.vectors, images, atol=1e-5)
        np.testing.assert_allclose(encoder.encode(TEXTS).vectors, texts, atol=1e-5)
        assert np.std(found.vectors, axis=0).max() > 0.01, "random weights that tell images apart"
        assert found.vectors.shape[1] == encoder.space.dimensions == encoder.encode(TEXTS).vectors.shape[1]

    def test_what_is_beside_an_image_changes_nothing(self, encoder):
        together = encoder.encode_media([io.BytesIO(one) for one in PICTURES * 7]).vectors
        alone = encoder.encode_media([io.BytesIO(PICTURES[1])]).vectors
        np.testing.assert_allclose(together[1::3], np.repeat(alone, 7, axis=0), atol=1e-5)

    def test_a_broken_image_is_named_by_its_place(self, encoder):
        with pytest.raises(InvalidArgument) as caught:
            encoder.encode_media([io.BytesIO(PICTURES[0]), io.BytesIO(PICTURES[1][:60])])
        assert (caught.value.field, caught.value.reason) == ("media[1].data", "BAD_IMAGE")

    def test_none_is_fine_and_blank_texts_are_refused(self, encoder):
        assert encoder.encode([]).vectors.shape == encoder.encode_media([]).vectors.shape
        with pytest.raises(InvalidArgument, match="text 1 of 2 is blank"):
            encoder.encode(["a", " "])
        assert encoder.encode(["word " * 100]).truncated == 1


def test_a_model_of_texts_alone_is_refused(tmp_path):
    config = transformers.BertConfig(
        vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    with pytest.raises(FailedPrecondition, match="could not be loaded as a CLIP or SigLIP"):
        ClipEncoder(ModelAddress.parse(f"file:{tmp_path}"), device="cpu")


def test_images_and_texts_are_encoded_over_the_wire(tmp_path, address, encoder):
    async def work(named: str) -> None:
        made: list[assembly.Links] = []

        def services(settings, at):
            made.append(assembly.Links(settings, at))
            return [assembly.build("perception", settings, made[0])]

        def asked(**fields):
            return stub.Encode(perception_pb2.EncodeRequest(**fields), wait_for_ready=True)

        def media(*data: bytes, media_type: str = ""):
            return [perception_pb2.Medium(data=one, media_type=media_type) for one in data]

        async with serving(tmp_path, services, image_encoder=named) as served:
            stub = perception_pb2_grpc.PerceptionServiceStub(served.channel)
            if not named:
                refused = await async_refusal(asked(media=media(*PICTURES)))
                says(refused, refused.code.FAILED_PRECONDITION, "NO_IMAGE_ENCODER", "", "SAPIENCE_IMAGE_ENCODER")
            else:
                images = (await asked(media=media(*PICTURES))).vectors
                texts = (await asked(texts=TEXTS, model=named)).vectors
                assert (images.space, images.space_version) == (texts.space, texts.space_version)
                expected = encoder.encode_media([io.BytesIO(one) for one in PICTURES]).vectors
                found = np.frombuffer(images.data, "<f4").reshape(tuple(images.shape))
                np.testing.assert_allclose(found, expected, atol=1e-5)
                other = (await asked(texts=TEXTS)).vectors
                assert other.space != images.space, "texts go to the default encoder unless another is named"
                for fields, reason, field in (
                    ({"media": media(PICTURES[0]), "texts": ["a"]}, "BAD_BATCH", "media"),
                    ({"media": media(*[PICTURES[0]] * 65)}, "BAD_BATCH", "media"),
                    ({"media": media(PICTURES[0], b"")}, "EMPTY_MEDIA", "media[1].data"),
                    ({"media": media(b"fLaC" + bytes(60))}, "MEDIA_TYPE_UNKNOWN", "media[0].data"),
                    ({"media": media(PICTURES[0][:70])}, "BAD_IMAGE", "media[0].data"),
                    (
                        {"media": media(PICTURES[0], media_type="image/gif")},
                        "MEDIA_TYPE_MISMATCH",
                        "media[0].media_type",
                    ),
                ):
                    refused = await async_refusal(asked(**fields))
                    assert (refused.reason, refused.field) == (reason, field), refused
                models = await stub.ListModels(perception_pb2.PerceptionServiceListModelsRequest())
                listed = [one for one in models.models if one.address == named]
                assert [one.kind for one in listed] == [concept_pb2.MODEL_KIND_ENCODER]
                assert listed[0].dimensions == encoder.space.dimensions
        await made[0].close()

    asyncio.run(work(str(address)))
    asyncio.run(work(""))
