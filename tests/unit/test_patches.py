"""Bytes into patches by the rules of BLT: lossless, the same however they come; the n-gram model, its calibration."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import FailedPrecondition, InvalidArgument
from core.models import ModelAddress
from perception.segment import patcher
from perception.segment.calibrating import Calibration, bytes_per_patch, calibrate, fitted
from perception.segment.counting import Counted
from perception.segment.entropy import MOST_ENTROPY
from perception.segment.ngram import NgramModel
from perception.segment.patches import Cut, PatchStream, Rule, Thresholds, cut, patch, patch_all

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_bytes()
COUNTED = Counted([TEXT[:16_000]], order=4)
MODEL = COUNTED.table()

DATA = st.binary(max_size=300) | st.lists(
    st.sampled_from([b"the record", b"\x00", b"\xff\xfe", "é".encode(), "語".encode()[:2], b"a" * 90, b" ", b"\r\n"])
).map(b"".join)
CUTS = st.builds(
    Cut,
    st.sampled_from(Rule),
    st.builds(Thresholds, st.floats(-1, 6), st.floats(-6, 6)),
    st.integers(1, 200),
)


@given(DATA, CUTS)
def test_patches_hold_every_byte_once_in_order(data: bytes, how: Cut) -> None:
    found = patch(MODEL, data, how)
    assert b"".join(found.of(data)) == data
    sizes = np.diff(found.ends, prepend=0)
    assert (sizes >= 1).all()
    assert (sizes <= how.most_bytes).all()
    assert len(found.entropies) == len(found) == len(found.starts)


def test_every_byte_there_is_and_none_at_all() -> None:
    for data in (b"", bytes(range(256)), bytes(range(255, -1, -1)) * 3, b"\x00" * 70):
        for rule in Rule:
            assert b"".join(patch(MODEL, data, Cut(rule, Thresholds(1.0, 0.3))).of(data)) == data


@given(DATA, CUTS, st.lists(st.integers(0, 40), max_size=30))
def test_a_stream_has_the_patches_of_the_whole_with_the_times_of_its_bytes(
    data: bytes, how: Cut, sizes: list[int]
) -> None:
    stream: PatchStream[int] = PatchStream(MODEL, how)
    came: list[int] = []
    found, at = [], 0
    for time, size in enumerate([*sizes, len(data)]):
        piece = data[at : at + size]
        came += [time] * len(piece)
        at += len(piece)
        found += stream.feed(piece, time)
    found += stream.end()
    whole = patch(MODEL, data, how)
    assert [one.data for one in found] == list(whole.of(data))
    assert [one.entropy for one in found] == whole.entropies.tolist()
    assert [(one.began, one.ended) for one in found] == [(came[one.start], came[one.end - 1]) for one in found]


@given(st.lists(DATA, max_size=5), CUTS)
def test_patches_do_not_depend_on_the_batch(streams: list[bytes], how: Cut) -> None:
    together = patch_all(MODEL, streams, how)
    for data, found in zip(streams, together, strict=True):
        alone = patch(MODEL, data, how)
        assert found.ends.tolist() == alone.ends.tolist()
        assert found.entropies.tolist() == alone.entropies.tolist()


def test_ten_megabytes_of_one_line() -> None:
    data = b"a line that does not end " * 400_000
    found = patch(MODEL, data, Cut(Rule.GLOBAL, Thresholds(1.3)))
    assert len(data) == found.ends[-1] == 10_000_000
    assert int(np.diff(found.ends).max()) <= 64


def test_the_rules_as_they_are_defined() -> None:
    entropies = np.array([0.1, 2.0, 1.9, 0.5, 1.2, 3.0], np.float32)
    ends = {
        Rule.GLOBAL: [1, 2, 5, 6],  # above 1.5: bytes 1, 2, 5
        Rule.MONOTONIC: [1, 4, 5, 6],  # more than 0.6 above the byte before: bytes 1, 4, 5
        Rule.COMBINED: [1, 5, 6],
    }
    for rule, wanted in ends.items():
        assert cut(entropies, Cut(rule, Thresholds(1.5, 0.6))).ends.tolist() == wanted
    assert cut(entropies, Cut(Rule.GLOBAL, Thresholds(9.0), 4)).ends.tolist() == [4, 6]


@pytest.mark.parametrize("context", [b"", b"the ", b"Concep", b"zq\xff", b"record.\n"])
def test_an_entropy_is_that_of_the_distribution(context: bytes) -> None:
    whole = np.array([COUNTED.probabilities(context + bytes([byte]))[-1] for byte in range(256)])
    assert whole.sum() == pytest.approx(1, abs=1e-9)
    expected = float(-(whole * np.log(whole)).sum())
    assert MODEL.entropies(context + b"x")[-1] == pytest.approx(expected, abs=2 * MOST_ENTROPY / 65_535)


def test_the_model_learns_what_follows() -> None:
    held_out = [TEXT[16_000:]]
    one, more = (Counted([TEXT[:16_000]], order=order).bits_per_byte(held_out) for order in (1, 4))
    assert more < one < 8
    assert MODEL.entropies(b"the recor")[-1] < MODEL.entropies(b"the ")[-1] + 1


def test_a_table_keeps_the_contexts_that_say_most() -> None:
    small = COUNTED.table(most_contexts=2000)
    assert 1900 <= small.parameters <= 2100 < MODEL.parameters
    full, less = (model.entropies(TEXT[16_000:]) for model in (MODEL, small))
    assert np.corrcoef(full, less)[0, 1] > 0.9


def test_a_model_is_the_same_when_it_is_read_back(tmp_path: Path) -> None:
    calibration = calibrate([MODEL.entropies(TEXT[16_000:])])
    NgramModel(MODEL.contexts, MODEL.steps, config={"calibration": calibration.to_json(), "licence": "CC0-1.0"}).save(
        tmp_path
    )
    loaded = patcher.load(ModelAddress("file", str(tmp_path)))
    assert loaded.model.entropies(TEXT).tolist() == MODEL.entropies(TEXT).tolist()
    assert (loaded.licence, loaded.parameters) == ("CC0-1.0", MODEL.parameters)
    for rule in Rule:
        assert loaded.calibration.thresholds(rule, 5.2) == Calibration.from_json(calibration.to_json()).thresholds(
            rule, 5.2
        )


@pytest.mark.parametrize("harm", ["type", "order", "short", "json", "calibration"])
def test_a_damaged_model_is_told(tmp_path: Path, harm: str) -> None:
    MODEL.save(tmp_path)
    config = tmp_path / "config.json"
    told = json.loads(config.read_text())
    if harm == "short":
        (tmp_path / "model.safetensors").write_bytes(b"nothing")
    elif harm == "json":
        config.write_text("{")
    else:
        told |= {"type": {"model_type": "bert"}, "order": {"order": 6}, "calibration": {"calibration": [1]}}[harm]
        config.write_text(json.dumps(told))
    with pytest.raises(FailedPrecondition) as refused:
        patcher.load(ModelAddress("file", str(tmp_path)))
    assert refused.value.reason == "MODEL_LOAD_FAILED"


@pytest.mark.parametrize("rule", list(Rule))
def test_calibration_on_one_half_holds_on_the_other(rule: Rule) -> None:
    rest = [TEXT[start : start + 1000] for start in range(16_000, len(TEXT), 1000)]
    corpus = MODEL.entropies_of(rest)
    calibration = calibrate(corpus[::2])
    for mean in (3.0, 4.5, 6.3):
        how = Cut(rule, calibration.thresholds(rule, mean))
        assert bytes_per_patch(corpus[::2], how) == pytest.approx(mean, rel=0.05)
        assert bytes_per_patch(corpus[1::2], how) == pytest.approx(mean, rel=0.15)


def test_thresholds_fitted_to_bytes_themselves() -> None:
    entropies = MODEL.entropies(TEXT[20_000:].upper())  # unlike anything that was seen
    for rule in Rule:
        how = Cut(rule, fitted([entropies], rule, 4.5, 32), 32)
        assert bytes_per_patch([entropies], how) == pytest.approx(4.5, rel=0.1)


def test_what_cannot_be_calibrated_is_told() -> None:
    with pytest.raises(InvalidArgument, match="too few"):
        calibrate([MODEL.entropies(TEXT[:900])])
    with pytest.raises(InvalidArgument, match="no thresholds"):
        fitted([np.full(5000, 2.0, np.float32)], Rule.MONOTONIC, 9.0)
    calibration = calibrate([MODEL.entropies(TEXT[16_000:])])
    with pytest.raises(InvalidArgument, match="calibrated for") as refused:
        calibration.thresholds(Rule.GLOBAL, 100.0)
    assert refused.value.field == "bytes_per_patch"
    with pytest.raises(FailedPrecondition, match="no thresholds for the global rule"):
        Calibration({}).thresholds(Rule.GLOBAL)
    with pytest.raises(InvalidArgument, match="give 1 to 65536"):
        Cut(Rule.GLOBAL, Thresholds(), 0)
    with pytest.raises(InvalidArgument, match="no byte"):
        Counted([b""])
    with pytest.raises(InvalidArgument, match="1 to 7"):
        Counted([b"a"], order=8)


# A BLT checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole BLT model of random weights, as transformers saves one; its patcher has windows of at most 64 bytes."""
    import torch
    from transformers import BltConfig, BltForCausalLM

    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 48}
    config = BltConfig(
        vocab_size=260,
        patcher_config={**small, "vocab_size": 260, "num_hidden_layers": 2, "max_position_embeddings": 64},
        encoder_config={**small, "vocab_size": 260, "cross_attn_k": 1, "hidden_size_global": 32},
        decoder_config={**small, "vocab_size": 260, "cross_attn_k": 1, "hidden_size_global": 32},
        global_config=small,
        encoder_hash_byte_group_vocab=50,
        encoder_hash_byte_group_size=[3],
        patching_threshold=5.44,
    )
    model = BltForCausalLM(config)
    with torch.no_grad():  # random weights of the usual size expect all bytes alike
        model.model.patcher.lm_head.weight.mul_(30)
    folder = tmp_path_factory.mktemp("blt")
    model.save_pretrained(folder)
    return folder


def test_a_blt_patcher_cuts_as_transformers_does(checkpoint: Path) -> None:
    import torch
    from transformers import BltForCausalLM

    ours = patcher.load(ModelAddress("file", str(checkpoint)), device="cpu")
    theirs = BltForCausalLM.from_pretrained(checkpoint).model.patcher.eval()
    data = TEXT[:60]
    with torch.inference_mode():
        tokens = torch.tensor([[1, *(4 + byte for byte in data)]])
        entropies, _, _ = theirs(input_ids=tokens)
        threshold = float(entropies[0, 1:-1].median())
        _, lengths, _ = theirs(input_ids=tokens, patch_size=1, threshold=threshold)
    assert np.abs(ours.model.entropies(data) - entropies[0, :-1].numpy()).max() < 1e-5
    found = patch(ours.model, data, Cut(Rule.GLOBAL, Thresholds(threshold)))
    # Theirs begin with a patch of the token for the beginning.
    assert [1, *np.diff(found.ends, prepend=0).tolist()] == [size for size in lengths[0].tolist() if size]


def test_a_blt_patcher_reads_a_stream_as_the_whole(checkpoint: Path) -> None:
    model = patcher.load(ModelAddress("file", str(checkpoint)), device="cpu").model
    data = TEXT[:300] + bytes(range(256))
    whole = model.entropies(data)
    assert len(whole) == len(data)
    reader, at, pieces = model.reader(), 0, []
    for size in (0, 1, 7, 30, 31, 64, 65, 200, 500):
        pieces.append(reader.read(data[at : at + size]))
        at += size
    assert np.concatenate(pieces).tolist() == whole.tolist()
    assert [one.tolist() for one in model.entropies_of([data[:90], data])] == [
        model.entropies(data[:90]).tolist(),
        whole.tolist(),
    ]


def test_a_blt_patcher_has_its_own_threshold_and_can_be_fitted(checkpoint: Path) -> None:
    ours = patcher.load(ModelAddress("file", str(checkpoint)), device="cpu")
    assert ours.parameters > 0
    assert ours.cut_for(Rule.GLOBAL) == Cut(Rule.GLOBAL, Thresholds(5.44))
    with pytest.raises(FailedPrecondition) as refused:
        ours.cut_for(Rule.COMBINED)
    assert refused.value.reason == "NOT_CALIBRATED"
    data = TEXT[:2000]
    for rule in Rule:
        _, found = ours.fit(data, rule)
        assert b"".join(found.of(data)) == data
        assert len(data) / len(found) == pytest.approx(4.5, rel=0.1)
