"""Training runs: resumed runs are the runs they would have been, models learn, and what is saved is served."""

import importlib.util
import json
from dataclasses import replace

import pytest

from cognition.latent.curriculum import Curriculum, Row
from cognition.latent.run import StopRequest, TrainingRun
from cognition.latent.settings import Settings
from cognition.latent.tasks.base import Example, same_answer
from core.errors import FailedPrecondition, InvalidArgument

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from cognition.latent import checkpoints  # noqa: E402
from cognition.latent.answering import answer_in  # noqa: E402
from cognition.latent.budget import fitted  # noqa: E402
from cognition.latent.comparing import compare  # noqa: E402
from cognition.latent.layers import decoder_of  # noqa: E402
from cognition.latent.oracle import unchanged  # noqa: E402
from cognition.latent.textmodel import END, LATENT, START, add_markers, word_tokenizer  # noqa: E402
from cognition.latent.textmodel import load as load_text  # noqa: E402
from cognition.latent.thinking import Thinker, collate  # noqa: E402
from cognition.latent.trainer import Trainer, train  # noqa: E402

WORDS = "ant bee cat dog".split()


class Letters:
    """A task that is learnt in seconds: who comes two places after someone in a fixed circle."""

    name = "letters"

    def examples(self, split):
        count = {"train": 16, "validation": 4, "test": 4}[split]
        made = []
        for place in range(count):
            start = place % 4
            first, second = WORDS[(start + 1) % 4], WORDS[(start + 2) % 4]
            made.append(Example(f"after {WORDS[start]}, twice", (f"{first} now", f"{second} now"), second))
        return made

    def correct(self, example, generated):
        return same_answer(example.answer, generated)


class Stopping(StopRequest):
    """Asks to stop after so many steps."""

    def __init__(self, steps):
        self.left = steps

    @property
    def requested(self):
        self.left -= 1
        return self.left < 0


SETTINGS = Settings(
    "letters",
    "new:1x64",
    Curriculum(stages=2, first_epochs=1, epochs_per_stage=1, epochs=4, mixing=0.2, reset="stage"),
    batch=4,
    rows_at_once=3,
    learning_rate=5e-3,
    warmup=2,
    clip=1.0,
    evaluated=4,
    new_tokens=8,
    log_steps=3,
)


def run_of(folder, settings=SETTINGS, stop=None, resume=False):
    run = TrainingRun.open(folder, settings.to_json(), resume=resume)
    return train(settings, Letters(), run, cache_dir=folder, stop=stop)


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model" / "model.safetensors")


@pytest.mark.parametrize("mode", ["coconut", "projected"])
@pytest.mark.parametrize("stopped_after", [2, 9])
def test_a_run_that_was_stopped_and_resumed_is_the_run_that_was_not(tmp_path, mode, stopped_after):
    settings = replace(SETTINGS, curriculum=replace(SETTINGS.curriculum, mode=mode))
    whole = run_of(tmp_path / "whole", settings)
    stopped = run_of(tmp_path / "parts", settings, Stopping(stopped_after))
    assert whole.finished
    assert not stopped.finished
    resumed = run_of(tmp_path / "parts", settings, resume=True)
    assert replace(resumed, model=whole.model) == whole
    metrics = [TrainingRun.existing(tmp_path / name).metrics() for name in ("whole", "parts")]
    assert metrics[0] == metrics[1]
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_dropout_of_a_resumed_run_is_drawn_on(tmp_path, monkeypatch):
    """A model that drops out at random takes the same steps too: the generators are in the checkpoint."""
    from cognition.latent import textmodel

    made = textmodel._made

    def dropping(*arguments):
        text = made(*arguments)
        for module in text.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.2
        return text

    monkeypatch.setattr(textmodel, "_made", dropping)
    run_of(tmp_path / "whole")
    run_of(tmp_path / "parts", stop=Stopping(5))
    run_of(tmp_path / "parts", resume=True)
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_rows_at_once_change_rounding_only(tmp_path):
    losses = []
    for rows in (1, 4):
        run_of(tmp_path / str(rows), replace(SETTINGS, rows_at_once=rows))
        losses.append([row["loss"] for row in TrainingRun.existing(tmp_path / str(rows)).metrics() if "loss" in row])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize(("mode", "learns"), [("coconut", True), ("pause", False), ("cot", True), ("no-cot", True)])
def test_a_small_task_is_learnt(tmp_path, mode, learns):
    curriculum = Curriculum(
        mode=mode, stages=2, first_epochs=8, epochs_per_stage=4, epochs=40, mixing=0.0, reset="none"
    )
    result = run_of(tmp_path, replace(SETTINGS, curriculum=curriculum, rows_at_once=4, model="new:2x64"))
    assert result.accuracy == 1.0 or not learns
    (last,) = [row for row in TrainingRun.existing(tmp_path).metrics() if row.get("epoch") == 39 and "accuracy" in row]
    assert last["thoughts"] == (2 if mode in ("coconut", "pause") else 0)
    assert ("zero_thoughts" in last) == (mode in ("coconut", "pause"))
    assert ("pause_tokens" in last) == (mode == "coconut")
    assert (tmp_path / "curriculum.svg").read_text().startswith("<svg")


def test_what_is_saved_answers_as_what_was_trained(tmp_path):
    result = run_of(tmp_path)
    latent = json.loads((result.model / "config.json").read_text())["latent"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(result.model)
    model = transformers.AutoModelForCausalLM.from_pretrained(result.model, dtype=torch.float32)
    vocabulary = tokenizer.get_vocab()
    assert latent == {
        "mode": "hidden", "steps": 2, "start_token": vocabulary[START], "pause_token": vocabulary[LATENT],
        "end_token": vocabulary[END], "projection": False, "thoughts_per_step": 1, "trained": "coconut",
    }  # fmt: skip
    trainer = Trainer(SETTINGS, Letters(), TrainingRun(tmp_path / "none"), cache_dir=tmp_path, device="cpu")
    trainer.run = TrainingRun.existing(tmp_path)
    trainer.use_best()
    found = trainer.answers("test", 3)
    thinker = Thinker(decoder_of(model), unchanged)
    for example, text in zip(Letters().examples("test"), found.texts, strict=True):
        ids = tokenizer(f"{example.question}\n", add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == f"{example.question}\n"
        tokens = (*ids, latent["start_token"], *[latent["pause_token"]] * 2, latent["end_token"])
        batch = collate([Row(tokens, len(ids) + 1, 2, len(tokens))], align="end")
        assert tokenizer.decode(thinker.answer(batch, 8, tokenizer.eos_token_id)[0]) == text


def test_projections_are_saved_under_the_engines_names(tmp_path):
    from safetensors.torch import load_file

    result = run_of(tmp_path, replace(SETTINGS, curriculum=replace(SETTINGS.curriculum, mode="projected")))
    extras = load_file(result.model / checkpoints.EXTRAS)
    assert set(extras) == {f"feedback.{part}.{kind}" for part in ("0", "2", "norm") for kind in ("weight", "bias")}
    assert json.loads((result.model / "config.json").read_text())["latent"]["mode"] == "projected"


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="peft, of the extra training, is not installed")
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_adapters_learn_and_only_new_rows_of_the_embedding_do(tmp_path, family):
    settings = replace(SETTINGS, model=f"file:{base_model(tmp_path / 'base', family)}", lora_rank=4, learning_rate=1e-2)
    run = TrainingRun.open(tmp_path / "run", settings.to_json())
    trainer = Trainer(settings, Letters(), run, cache_dir=tmp_path, device="cpu")
    table = trainer.text.model.get_input_embeddings().weight
    before = table.detach().clone()
    frozen = {name: one.clone() for name, one in trainer.text.model.named_parameters() if not one.requires_grad}
    result = trainer.train(StopRequest())
    markers = trainer.text.markers
    changed = {place for place, same in enumerate((table == before).all(1).tolist()) if not same}
    assert {markers.start, markers.end} <= changed <= {markers.start, markers.latent, markers.end}
    now = dict(trainer.text.model.named_parameters())
    assert all(torch.equal(one, now[name]) for name, one in frozen.items())
    assert (result.model / "adapter" / "adapter_config.json").is_file()
    # Merged weights say what the model with its adapters says.
    merged = transformers.AutoModelForCausalLM.from_pretrained(result.model, dtype=torch.float32)
    trainer.use_best()
    tokens = torch.tensor([[1, 2, 3, 4]])
    trainer.text.model.eval()
    assert torch.allclose(merged(tokens).logits, trainer.text.model(tokens).logits, atol=1e-4)


def test_adapters_without_their_library_say_what_to_install(tmp_path, monkeypatch):
    import builtins

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", lambda name, *rest: _refuse() if name == "peft" else real(name, *rest))
    with pytest.raises(FailedPrecondition, match=r"sapience\[training\]"):
        run_of(tmp_path, replace(SETTINGS, lora_rank=4))


def _refuse():
    raise ImportError("peft")


def base_model(folder, family="gpt2"):
    """A folder with a small model and a tokenizer that have no markers yet."""
    tokenizer = word_tokenizer([f"after {word}, twice\n" for word in WORDS] + ["<< now\n", "### ant"])
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["added_tokens"] = [one for one in state["added_tokens"] if one["content"] not in (START, LATENT, END)]
    for place, token in enumerate((START, LATENT, END)):
        state["model"]["vocab"][f"unused{place}"] = state["model"]["vocab"].pop(token)
    from tokenizers import Tokenizer

    plain = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), eos_token="<|endoftext|>", unk_token="<|unknown|>"
    )
    shape = {"vocab_size": len(plain), "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    torch.manual_seed(0)
    if family == "gpt2":
        config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=64, **shape)
        model = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.LlamaConfig(
            hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
            max_position_embeddings=64, tie_word_embeddings=True, **shape,
        )  # fmt: skip
        model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder)
    plain.save_pretrained(folder)
    return folder


def test_markers_begin_as_the_sign_that_coconut_begins_them_with(tmp_path):
    folder = base_model(tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = len(tokenizer)
    table = model.get_input_embeddings().weight.detach().clone()
    mean = table.mean(0)
    markers = add_markers(model, tokenizer)
    assert {markers.start, markers.latent, markers.end} == {rows, rows + 1, rows + 2}
    known = tokenizer.get_vocab()
    expected = table[known["<<"]] if "<<" in known else mean
    assert torch.allclose(model.get_input_embeddings().weight[rows:], expected.expand(3, -1))
    assert add_markers(model, tokenizer) == markers
    assert tokenizer.decode([markers.start, markers.latent], skip_special_tokens=True) == ""


def test_word_tokens_join_to_the_text():
    text = "Every wumpus is a tumpus. x = 12 + 3; Où?\n### True"
    tokenizer = word_tokenizer([text])
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert tokenizer.unk_token_id in tokenizer(" zebra")["input_ids"]


@pytest.mark.parametrize("address", ["new:", "new:2x60", "new:0x64", "new:2x64x2"])
def test_addresses_of_new_models_that_are_none(address, tmp_path):
    with pytest.raises(InvalidArgument) as caught:
        load_text(address, list, cache_dir=tmp_path)
    assert caught.value.field == "model"


def test_an_example_that_does_not_fit_the_context_is_named(tmp_path):
    settings = replace(SETTINGS, curriculum=replace(SETTINGS.curriculum, stages=1020))
    with pytest.raises(FailedPrecondition, match="example 0 of train") as caught:
        run_of(tmp_path, settings)
    assert caught.value.reason == "CONTEXT_TOO_SHORT"


def test_minutes_become_examples(tmp_path):
    less = fitted(SETTINGS, Letters(), 0.0001, cache_dir=tmp_path, device="cpu")
    more = fitted(SETTINGS, Letters(), 5.0, cache_dir=tmp_path, device="cpu")
    assert less.examples == 4
    assert more.examples == 16


def test_methods_are_compared_and_a_comparison_goes_on(tmp_path):
    options = {"cache_dir": tmp_path, "device": "cpu", "methods": ("coconut", "no-cot")}
    assert compare(SETTINGS, Letters(), tmp_path / "runs", stop=Stopping(1), **options) == []
    rows = compare(SETTINGS, Letters(), tmp_path / "runs", **options)
    assert [row.method for row in rows] == ["coconut", "coconut, none", "coconut, pause", "no-cot"]
    assert [row.thoughts for row in rows] == [2, 0, 2, 0]
    again = compare(SETTINGS, Letters(), tmp_path / "runs", **options)
    assert [row.accuracy for row in again] == [row.accuracy for row in rows]


@pytest.mark.parametrize(
    ("text", "answer"), [("a\nb\n### c", "c"), ("### 1 ### 2", "2"), ("no sign", "no sign"), ("###", "")]
)
def test_the_answer_is_what_follows_the_last_sign(text, answer):
    assert answer_in(text) == answer


def coconut_checkpoint(folder, *, prefix="base_causallm.", drop=(), **more):
    """A checkpoint in the layout of the Coconut code, its tokenizer, and the model that it is of."""
    base = base_model(folder / "base")
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.resize_token_embeddings(len(tokenizer) + 3, mean_resizing=False)
    state = {f"{prefix}{name}": one for name, one in model.state_dict().items()}
    state |= {"embedding.weight": model.transformer.wte.weight} if prefix else {}
    state |= {f"{prefix}transformer.h.0.attn.bias": torch.ones(1, 1, 64, 64, dtype=torch.bool)}
    state = {name: one for name, one in state.items() if not name.endswith(tuple(drop) or ("\0",))} | more
    torch.save(state, folder / "checkpoint_33")
    return folder / "checkpoint_33", tokenizer, model


@pytest.mark.parametrize("prefix", ["base_causallm.", "module.base_causallm.", ""])
def test_a_coconut_checkpoint_becomes_a_folder_that_is_served(tmp_path, prefix):
    path, tokenizer, model = coconut_checkpoint(tmp_path, prefix=prefix)
    if prefix.startswith("module"):
        state = torch.load(path, weights_only=True)
        torch.save(
            {("module.embedding.weight" if name == "embedding.weight" else name): one for name, one in state.items()},
            path,
        )
    rows = len(tokenizer)
    folder = checkpoints.convert_coconut(path, tmp_path / "made", tokenizer, steps=6, heads=2)
    config = json.loads((folder / "config.json").read_text())
    assert (config["latent"]["mode"], config["latent"]["steps"]) == ("hidden", 6)
    # The order in which that code adds them: start, end, latent.
    assert [config["latent"][name] for name in ("start_token", "end_token", "pause_token")] == [
        rows,
        rows + 1,
        rows + 2,
    ]
    found = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = torch.tensor([[1, 2, rows, rows + 2]])
    assert torch.equal(found(tokens).logits, model.eval()(tokens).logits)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"drop": ["transformer.wpe.weight"]}, "wpe.weight is missing"),
        ({"drop": ["h.1.ln_1.bias"]}, r"h\.1\.ln_1\.bias is missing"),
        ({"base_causallm.transformer.h.0.extra": torch.ones(1)}, "extra"),
        ({"optimizer": torch.ones(1)}, "optimizer is no tensor of a Coconut checkpoint"),
        ({"epoch": 3}, "no state dict"),
    ],
)
def test_another_layout_is_named_by_its_tensor(tmp_path, options, says):
    path, tokenizer, _ = coconut_checkpoint(tmp_path, **options)
    with pytest.raises(InvalidArgument, match=says):
        checkpoints.convert_coconut(path, tmp_path / "made", tokenizer, steps=6, heads=2)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    import pickle

    class Wicked:
        def __reduce__(self):
            return (print, ("ran",))

    torch.save({"base_causallm.x": Wicked()}, tmp_path / "wicked", pickle_module=pickle)
    with pytest.raises(FailedPrecondition, match="cannot be read as tensors"):
        checkpoints.read_coconut(tmp_path / "wicked")


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    path, tokenizer, _ = coconut_checkpoint(tmp_path)
    tokenizer.add_tokens(["more"])
    with pytest.raises(InvalidArgument) as caught:
        checkpoints.convert_coconut(path, tmp_path / "made", tokenizer, steps=6, heads=2)
    assert caught.value.field == "tokenizer"
