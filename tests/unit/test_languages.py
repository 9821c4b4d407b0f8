"""Names of languages: BCP 47 tags, and the codes of FLORES, NLLB and SONAR."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidArgument
from perception.segment.languages import FLORES_CODES, Tag, checked, flores_code, same_language, tag_of


def test_every_code_has_a_tag_that_leads_back_to_it() -> None:
    assert len(FLORES_CODES) == len(set(FLORES_CODES)) == 202
    assert len({tag_of(code) for code in FLORES_CODES}) == 202
    for code in FLORES_CODES:
        assert flores_code(tag_of(code)) == code
        assert flores_code(code) == code
        assert checked(tag_of(code)) == tag_of(code)


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("de", "deu_Latn"),
        ("de-AT", "deu_Latn"),
        ("DE-latn-1996", "deu_Latn"),
        ("deu", "deu_Latn"),
        ("en-US", "eng_Latn"),
        ("zh", "zho_Hans"),
        ("zh-Hant", "zho_Hant"),
        ("zh-TW", "zho_Hant"),
        ("zh-Hans-HK", "zho_Hans"),
        ("cmn-Hans", "zho_Hans"),
        ("zh-yue", "yue_Hant"),
        ("ar", "arb_Arab"),
        ("ar-EG", "arb_Arab"),
        ("arz", "arz_Arab"),
        ("fa-AF", "prs_Arab"),
        ("no", "nob_Latn"),
        ("az-Arab", "azb_Arab"),
        ("ku", "kmr_Latn"),
        ("ku-Arab", "ckb_Arab"),
        ("sr-Cyrl-RS", "srp_Cyrl"),
        ("fil", "tgl_Latn"),
        ("iw", "heb_Hebr"),
        ("ks-Deva", "kas_Deva"),
        ("deu_latn", "deu_Latn"),
    ],
)
def test_tags_and_their_codes(tag: str, code: str) -> None:
    assert flores_code(tag) == code


@pytest.mark.parametrize(
    ("tag", "reason", "said"),
    [
        ("", "BAD_LANGUAGE", "no BCP 47 tag"),
        ("german", "BAD_LANGUAGE", "'german'"),
        ("de_DE", "BAD_LANGUAGE", "de, pt-BR"),
        ("d", "BAD_LANGUAGE", "'d'"),
        ("de-", "BAD_LANGUAGE", "'de-'"),
        ("de-" + "a" * 100, "BAD_LANGUAGE", "no BCP 47 tag"),
        ("xx", "UNKNOWN_LANGUAGE", "'xx' is no language"),
        ("la", "UNKNOWN_LANGUAGE", "none of the 202"),
        ("sr-Latn", "UNKNOWN_LANGUAGE", "write sr-Cyrl"),
        ("deu_Cyrl", "UNKNOWN_LANGUAGE", "'deu_Cyrl'"),
    ],
)
def test_what_has_no_code(tag: str, reason: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said) as refused:
        flores_code(tag, field="to")
    assert (refused.value.reason, refused.value.field) == (reason, "to")


@pytest.mark.parametrize(
    ("tag", "usual"),
    [
        ("", ""),
        ("PT-br", "pt-BR"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("sl-ROZAJ-biske-1994", "sl-rozaj-biske-1994"),
        ("en-u-ca-gregory-x-Mine", "en-u-ca-gregory-x-mine"),
        ("es-419", "es-419"),
        ("la", "la"),
        ("gsw", "gsw"),
        ("zho_Hant", "zh-Hant"),
    ],
)
def test_the_usual_case_of_a_tag(tag: str, usual: str) -> None:
    assert checked(tag) == usual


@given(st.text(max_size=12))
def test_any_text_is_a_tag_or_an_error_that_says_so(text: str) -> None:
    refused = None
    usual = ""
    try:
        usual = checked(text)
    except InvalidArgument as error:
        refused = error
    if refused is not None:
        assert refused.reason in ("BAD_LANGUAGE", "UNKNOWN_LANGUAGE")
        assert refused.field == "language"
    assert checked(usual) == usual
    assert not usual or str(Tag.parse(usual)) == usual


def test_one_language_under_several_names() -> None:
    assert same_language("pt-BR", "pt")
    assert same_language("no", "nb")
    assert same_language("zh-Hant", "cmn")
    assert not same_language("no", "nn")
