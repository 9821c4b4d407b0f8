"""Audio: any rate, channel count and format becomes the same samples, a broken file says so, speech is found."""

from __future__ import annotations

import io
import itertools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidArgument

pytest.importorskip("soundfile")
import soundfile

from perception.senses import audio
from perception.senses.audio import RATE, Resampler, blocks
from perception.senses.base import Part, concepts_of
from perception.senses.mel import log_mel
from perception.senses.voice import FRAME, VoiceDetector, Windows, _Cutter, _quietest

SPOKEN = Path(__file__).parents[1] / "data" / "spoken.ogg"


def tone(rate: int, seconds: float, channels: int = 1) -> np.ndarray:
    wave = 0.4 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)
    return np.repeat(wave[:, None], channels, axis=1)


def written(samples: np.ndarray, rate: int, **options: str) -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **options)
    return file


class TestResampling:
    @given(
        rate=st.sampled_from([8_000, 11_025, 12_345, 16_000, 22_050, 44_100, 48_000]),
        cuts=st.lists(st.integers(0, 4_000), max_size=5),
        size=st.integers(0, 4_000),
    )
    def test_blocks_join_without_a_seam(self, rate, cuts, size):
        signal = np.random.default_rng(size).normal(size=size).astype(np.float32)
        whole = Resampler(rate)
        expected = np.concatenate([whole.push(signal), whole.finish()])
        parts = Resampler(rate)
        pieces = np.split(signal, sorted(min(cut, size) for cut in cuts))
        found = np.concatenate([*(parts.push(piece) for piece in pieces), parts.finish()])
        assert len(found) == -(-size * RATE // rate)
        np.testing.assert_allclose(found, expected, atol=1e-5)

    @pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000])
    def test_a_tone_stays_that_tone(self, rate):
        resampler = Resampler(rate)
        found = np.concatenate([resampler.push(tone(rate, 0.5)[:, 0].astype(np.float32)), resampler.finish()])
        expected = tone(RATE, 0.5)[:, 0]
        np.testing.assert_allclose(found[300:-300], expected[300:-300], atol=1e-4)

    def test_what_the_lower_rate_cannot_hold_is_gone(self):
        high = np.sin(2 * np.pi * 12_000 * np.arange(48_000) / 48_000).astype(np.float32)
        resampler = Resampler(48_000)
        found = np.concatenate([resampler.push(high), resampler.finish()])
        assert np.abs(found[500:-500]).max() < 1e-3


class TestDecoding:
    @pytest.mark.parametrize(
        "options",
        [
            {"format": "WAV", "subtype": "PCM_16"},
            {"format": "WAV", "subtype": "PCM_U8"},
            {"format": "WAV", "subtype": "FLOAT"},
            {"format": "FLAC"},
            {"format": "OGG", "subtype": "VORBIS"},
            {"format": "OGG", "subtype": "OPUS"},
            {"format": "MP3"},
        ],
        ids=lambda options: "-".join(options.values()),
    )
    @pytest.mark.parametrize("channels", [1, 2])
    def test_every_format_is_the_same_sound(self, options, channels):
        found = np.concatenate(list(blocks(written(tone(48_000, 1.0, channels), 48_000, **options))))
        assert abs(len(found) - RATE) < RATE * 0.1, "codecs add a frame or two"
        power = np.abs(np.fft.rfft(found[2000:14_000] * np.hanning(12_000)))
        assert abs(power.argmax() * RATE / 12_000 - 440) < 2

    def test_no_samples_are_no_error(self):
        assert sum(map(len, blocks(written(np.zeros((0, 1)), 8_000, format="WAV")))) == 0

    def test_a_long_recording_takes_no_more_memory_than_a_short_one(self):
        file = written(np.zeros(8_000 * 1200, np.int16), 8_000, format="FLAC")

        def peak(most: int) -> int:
            tracemalloc.start()
            for number, _ in enumerate(blocks(file)):
                if number >= most:
                    break
            _, highest = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return highest

        peak(1)  # imports
        assert peak(1000) < 1.5 * peak(6)

    @pytest.mark.parametrize(
        ("damage", "says"),
        [
            (lambda data: data[: len(data) // 2], "cut off"),
            (lambda data: data[:20], "decoded|cut off"),
            (lambda data: b"RIFF" + bytes(60), "decoded"),
            (lambda data: data[:12] + b"junk\0\0\0\0" * 2_000, "1000 chunks"),
            (lambda data: data[:24] + (999_999).to_bytes(4, "little") + data[28:], "999999 samples"),
        ],
    )
    def test_a_broken_wav_says_how(self, damage, says):
        data = damage(written(tone(16_000, 1.0), 16_000, format="WAV").getvalue())
        with pytest.raises(InvalidArgument, match=says) as caught:
            list(blocks(io.BytesIO(data)))
        assert (caught.value.field, caught.value.reason) == ("data", "BAD_AUDIO")

    def test_a_flac_that_is_cut_off_says_so(self):
        data = written(np.random.default_rng(0).normal(size=160_000) * 0.1, 16_000, format="FLAC").getvalue()
        with pytest.raises(InvalidArgument, match=r"breaks off|cut off|decoded"):
            list(blocks(io.BytesIO(data[: len(data) // 2])))

    def test_samples_that_are_no_numbers_are_refused(self):
        wave = np.full((4_000, 1), np.nan, np.float32)
        with pytest.raises(InvalidArgument, match="no numbers"):
            list(blocks(written(wave, 16_000, format="WAV", subtype="FLOAT")))

    def test_a_streamed_wav_whose_length_was_never_filled_in_is_heard_to_its_end(self):
        data = bytearray(written(tone(16_000, 1.0), 16_000, format="WAV", subtype="PCM_16").getvalue())
        data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
        assert sum(map(len, blocks(io.BytesIO(bytes(data))))) == 16_000

    @pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
    def test_an_ogg_that_is_cut_off_says_so(self, subtype, share):
        noise = np.random.default_rng(0).normal(size=160_000) * 0.1
        data = written(noise, 16_000, format="OGG", subtype=subtype).getvalue()
        assert sum(map(len, blocks(io.BytesIO(data))))
        with pytest.raises(InvalidArgument, match="cut off"):
            list(blocks(io.BytesIO(data[: int(share * len(data))])))

    def test_an_ogg_that_never_says_that_it_ends_is_heard(self):
        noise = np.random.default_rng(0).normal(size=160_000) * 0.1
        data = written(noise, 16_000, format="OGG", subtype="OPUS").getvalue()
        whole = data[: data.rindex(b"OggS")]
        assert not whole[whole.rindex(b"OggS") + 5] & 4
        assert sum(map(len, blocks(io.BytesIO(whole)))) > 100_000

    def test_a_wav_of_64_bits_that_is_cut_off_says_so(self):
        data = written(tone(16_000, 1.0), 16_000, format="RF64", subtype="PCM_16").getvalue()
        assert sum(map(len, blocks(io.BytesIO(data)))) == 16_000
        with pytest.raises(InvalidArgument, match="cut off"):
            list(blocks(io.BytesIO(data[: len(data) // 2])))

    def test_a_wav_that_promises_nothing_and_has_sound_is_refused(self):
        data = bytearray(written(tone(16_000, 1.0), 16_000, format="WAV", subtype="PCM_16").getvalue())
        data[40:44] = bytes(4)
        with pytest.raises(InvalidArgument, match="was streamed"):
            list(blocks(io.BytesIO(bytes(data))))

    def test_a_wav_without_samples_may_have_chunks_behind_them(self):
        data = bytearray(written(np.zeros((0, 1)), 8_000, format="WAV", subtype="PCM_16").getvalue())
        assert data[36:44] == b"data" + bytes(4)
        assert sum(map(len, blocks(io.BytesIO(bytes(data) + b"id3 \2\0\0\0ab")))) == 0

    def test_an_error_names_no_object_of_ours(self):
        with pytest.raises(InvalidArgument) as caught:
            list(blocks(io.BytesIO(b"RIFF" + bytes(60))))
        assert "0x" not in caught.value.message

    def test_the_header_tells_the_length(self):
        assert audio.duration_s(written(tone(8_000, 2.5), 8_000, format="FLAC")) == 2.5


class TestWindows:
    """The rule that cuts, on probabilities that a test makes up."""

    @staticmethod
    def cut(probabilities: list[float], **wanted: float) -> list[tuple[float, float, bool]]:
        cutter = _Cutter(Windows(**wanted))
        made = []
        for place, one in enumerate(probabilities):
            made += cutter.push(np.full(FRAME, place, np.float32), one)
        made += cutter.finish()
        for window in made:
            assert window.start_s == window.samples[0] * FRAME / RATE, "it begins where its samples do"
            assert (np.diff(window.samples[::FRAME]) == 1).all(), "no frame is left out or twice"
        return [(window.start_s, window.start_s + len(window.samples) / RATE, window.follows) for window in made]

    def test_silence_makes_none(self):
        assert self.cut([0.1] * 1000) == []

    def test_a_click_makes_none(self):
        assert self.cut([0.1] * 50 + [0.9] * 2 + [0.1] * 200) == []

    def test_speech_is_kept_with_a_little_before_and_after(self):
        [(start, end, follows)] = self.cut([0.0] * 100 + [0.9] * 100 + [0.0] * 200)
        assert abs(start - (3.2 - 0.4)) < 0.04
        assert abs(end - (6.4 + 0.4)) < 0.04
        assert not follows

    def test_a_pause_parts_two(self):
        assert len(self.cut([0.9] * 50 + [0.0] * 80 + [0.9] * 50)) == 2
        assert len(self.cut([0.9] * 50 + [0.0] * 30 + [0.9] * 50)) == 1

    def test_long_speech_is_cut_in_its_longest_late_pause(self):
        made = self.cut([0.9] * 500 + [0.1] * 5 + [0.9] * 100 + [0.1] * 20 + [0.9] * 800)
        assert abs(made[0][1] - (605 + 10) * FRAME / RATE) < 0.1
        assert [follows for _, _, follows in made] == [False, True]
        assert [one[1] for one in made[:-1]] == [one[0] for one in made[1:]], "nothing is lost between"

    @given(st.lists(st.sampled_from([0.0, 0.4, 0.6, 1.0]), max_size=400), st.integers(40, 120))
    def test_no_window_is_too_long_and_none_overlap(self, probabilities, most):
        made = self.cut(probabilities, most_s=most * FRAME / RATE, pause_s=1.0)
        assert all(end - start <= (most + 1) * FRAME / RATE for start, end, _ in made)
        assert all(one[1] <= other[0] + 1e-9 for one, other in itertools.pairwise(made))

    def test_without_a_pause_the_least_likely_place_is_taken(self):
        probabilities = [0.9] * 100
        probabilities[70:75] = [0.5] * 5
        assert 68 <= _quietest(probabilities, 50, 0.35) <= 76

    def test_the_detector_finds_speech_and_nothing_in_noise(self):
        detector = VoiceDetector()
        with SPOKEN.open("rb") as file:
            found = list(detector.windows(blocks(file)))
        assert len(found) == 2, "two stretches with three seconds between"
        assert 0.2 < found[0].start_s < 1.2
        noise = np.random.default_rng(0).normal(size=10 * RATE).astype(np.float32) * 0.05
        assert not list(detector.windows([noise]))
        assert not list(detector.windows([np.zeros(10 * RATE, np.float32)]))
        assert not list(detector.windows([]))


@pytest.mark.parametrize("bands", [80, 128])
def test_the_mel_spectrogram_is_that_of_transformers(bands):
    transformers = pytest.importorskip("transformers")
    wave = np.random.default_rng(0).normal(size=16_000 * 3).astype(np.float32) * 0.1
    theirs = transformers.WhisperFeatureExtractor(feature_size=bands)(wave, sampling_rate=16_000, return_tensors="np")
    np.testing.assert_allclose(log_mel(wave, bands), theirs.input_features[0], atol=1e-4)


def test_sentences_have_the_times_and_the_certainty_of_their_words():
    text = "One two. Three “four”."
    parts = [
        Part(0, 3, 0.5, 0.0, 1.0),
        Part(3, 8, 1.0, 1.0, 2.0),
        Part(8, 14, 0.25, 3.0, 4.0),
        Part(14, 22, 0.75, 4.0, 5.0),
    ]
    first, second = concepts_of(text, parts, "en")
    assert (first.span.text, first.start_s, first.end_s) == ("One two.", 0.0, 2.0)
    assert first.confidence == pytest.approx((3 * 0.5 + 5) / 8)
    assert (second.span.text, second.start_s, second.end_s) == ("Three “four”.", 3.0, 5.0)
    assert text.encode()[second.span.start_byte : second.span.end_byte].decode() == second.span.text
    assert second.span.language == "en"
