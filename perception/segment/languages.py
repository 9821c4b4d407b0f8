"""Names of languages: BCP 47 tags ("de", "zh-Hant"), and the codes of FLORES-200 that NLLB and SONAR use ("deu_Latn").

A tag is brought to its usual case ("ZH-hant-tw" is "zh-Hant-TW") and checked for its form and its language; scripts,
regions and variants only for their form. A code names a language and a script, by ISO 639-3 and ISO 15924. Where a tag
names a macrolanguage, its code is that of the member that NLLB knows under that name: "ar" is Standard Arabic
(arb_Arab), "sw" Swahili of the coast (swh_Latn), "no" Bokmål (nob_Latn).

The codes are the 202 of NLLB-200 (arXiv 2207.04672), which SONAR's text encoder takes as well. This module knows names
only: `perception.segment.detecting` says which language a text is in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.errors import InvalidArgument

MAX_TAG = 64
"""The longest tag, in characters."""

FLORES_CODES = tuple(
    """
    ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn amh_Ethi apc_Arab arb_Arab ars_Arab ary_Arab
    arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn bak_Cyrl bam_Latn ban_Latn bel_Cyrl bem_Latn ben_Beng
    bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn bug_Latn bul_Cyrl cat_Latn ceb_Latn ces_Latn cjk_Latn ckb_Arab crh_Latn
    cym_Latn dan_Latn deu_Latn dik_Latn dyu_Latn dzo_Tibt ell_Grek eng_Latn epo_Latn est_Latn eus_Latn ewe_Latn fao_Latn
    pes_Arab fij_Latn fin_Latn fon_Latn fra_Latn fur_Latn fuv_Latn gla_Latn gle_Latn glg_Latn grn_Latn guj_Gujr hat_Latn
    hau_Latn heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn hye_Armn ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn jav_Latn
    jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda kas_Arab kas_Deva kat_Geor knc_Arab knc_Latn kaz_Cyrl kbp_Latn kea_Latn
    khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn kon_Latn kor_Hang kmr_Latn lao_Laoo lvs_Latn lij_Latn lim_Latn lin_Latn
    lit_Latn lmo_Latn ltg_Latn ltz_Latn lua_Latn lug_Latn luo_Latn lus_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Latn
    mkd_Cyrl plt_Latn mlt_Latn mni_Beng khk_Cyrl mos_Latn mri_Latn zsm_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva
    nso_Latn nus_Latn nya_Latn oci_Latn gaz_Latn ory_Orya pag_Latn pan_Guru pap_Latn pol_Latn por_Latn prs_Arab pbt_Arab
    quy_Latn ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Beng scn_Latn shn_Mymr sin_Sinh slk_Latn slv_Latn smo_Latn
    sna_Latn snd_Arab som_Latn sot_Latn spa_Latn als_Latn srd_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn swh_Latn szl_Latn
    tam_Taml tat_Cyrl tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi taq_Latn taq_Tfng tpi_Latn tsn_Latn tso_Latn tuk_Latn
    tum_Latn tur_Latn twi_Latn tzm_Tfng uig_Arab ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn vie_Latn war_Latn wol_Latn
    xho_Latn ydd_Hebr yor_Latn yue_Hant zho_Hans zho_Hant zul_Latn
    """.split()
)
"""Every language of NLLB-200 and SONAR, in their order."""

# Two letters, and the language of FLORES that is meant by them.
_TWO_LETTERS = dict(
    pair.split(":")
    for pair in """
    af:afr ak:aka am:amh ar:arb as:asm ay:ayr az:azj ba:bak be:bel bg:bul bm:bam bn:ben bo:bod bs:bos ca:cat cs:ces
    cy:cym da:dan de:deu dz:dzo ee:ewe el:ell en:eng eo:epo es:spa et:est eu:eus fa:pes ff:fuv fi:fin fj:fij fo:fao
    fr:fra ga:gle gd:gla gl:glg gn:grn gu:guj ha:hau he:heb hi:hin hr:hrv ht:hat hu:hun hy:hye id:ind ig:ibo is:isl
    it:ita ja:jpn jv:jav ka:kat kg:kon ki:kik kk:kaz km:khm kn:kan ko:kor kr:knc ks:kas ku:kmr ky:kir lb:ltz lg:lug
    li:lim ln:lin lo:lao lt:lit lv:lvs mg:plt mi:mri mk:mkd ml:mal mn:khk mr:mar ms:zsm mt:mlt my:mya nb:nob ne:npi
    nl:nld nn:nno ny:nya oc:oci om:gaz or:ory pa:pan pl:pol ps:pbt pt:por qu:quy rn:run ro:ron ru:rus rw:kin sa:san
    sc:srd sd:snd sg:sag si:sin sk:slk sl:slv sm:smo sn:sna so:som sq:als sr:srp ss:ssw st:sot su:sun sv:swe sw:swh
    ta:tam te:tel tg:tgk th:tha ti:tir tk:tuk tl:tgl tn:tsn tr:tur ts:tso tt:tat tw:twi ug:uig uk:ukr ur:urd uz:uzn
    vi:vie wo:wol xh:xho yi:ydd yo:yor zh:zho zu:zul
    """.split()
)
# Other names: macrolanguages by three letters, and tags that BCP 47 has given up.
_OTHER_NAMES = dict(
    pair.split(":")
    for pair in """
    no:nob nor:nob iw:heb in:ind ji:ydd mo:ron fil:tgl din:dik cmn:zho ara:arb aym:ayr aze:azj ekk:est fas:pes ful:fuv
    gug:grn kau:knc kur:kmr lav:lvs mlg:plt mon:khk msa:zsm nep:npi ori:ory orm:gaz pus:pbt que:quy sqi:als swa:swh
    uzb:uzn yid:ydd jw:jav
    """.split()
)
_ALSO_TWO_LETTERS = frozenset(
    """
    aa ab ae an av bi br ce ch co cr cu cv dv fy gv ho hz ia ie ii ik in io iu iw ji jw kj kl kv kw la lu mh mo na nd ng
    no nr nv oj os pi rm se sh to ty ve vo wa za
    """.split()
)
"""The languages of two letters that FLORES has not, and names of old."""

# The code where the script or the region says more than the language.
_SPECIAL = {
    ("zho", "TW"): "zho_Hant",
    ("zho", "HK"): "zho_Hant",
    ("zho", "MO"): "zho_Hant",
    ("pes", "AF"): "prs_Arab",
    ("azj", "IR"): "azb_Arab",
    ("azj", "Arab"): "azb_Arab",
    ("kmr", "IQ"): "ckb_Arab",
    ("kmr", "Arab"): "ckb_Arab",
}
_FIRST_SCRIPT = {"ace": "Latn", "bjn": "Latn", "kas": "Arab", "knc": "Latn", "taq": "Latn", "zho": "Hans"}
"""The script that is meant where a language has codes for two."""

_SCRIPTS: dict[str, list[str]] = {}
for _code in FLORES_CODES:
    _SCRIPTS.setdefault(_code[:3], []).append(_code[4:])
_SHORT = {three: two for two, three in _TWO_LETTERS.items()}

# RFC 5646, section 2.1, without the irregular tags that it keeps for old times' sake.
_TAG = re.compile(
    r"(?P<language>[a-z]{2,3})(?:-(?P<extlang>[a-z]{3}))?(?:-(?P<script>[a-z]{4}))?(?:-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?P<rest>(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*(?:-[0-9a-wy-z](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?)",
    re.IGNORECASE,
)
_CODE = re.compile(r"([a-z]{3})_([a-z]{4})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Tag:
    """A BCP 47 tag in its parts, each in its usual case; empty where the tag does not say."""

    language: str
    script: str = ""
    region: str = ""
    rest: str = ""
    """Variants, extensions and what is for private use, with the hyphens before them."""

    @classmethod
    def parse(cls, tag: str, *, field: str = "language") -> Tag:
        """Reads a tag. An extended language stands for itself: "zh-yue" is "yue".

        Raises InvalidArgument naming `field`: BAD_LANGUAGE for what has not the form of a tag, UNKNOWN_LANGUAGE for two
        letters that are no language. Of three letters it checks the form only.
        """
        match = _TAG.fullmatch(tag) if len(tag) <= MAX_TAG else None
        if match is None:
            raise InvalidArgument(
                f"{field} is {tag[:MAX_TAG]!r}, which is no BCP 47 tag; write for example de, pt-BR or zh-Hant",
                field=field,
                reason="BAD_LANGUAGE",
            )
        language = (match["extlang"] or match["language"]).lower()
        if len(language) == 2 and language not in _TWO_LETTERS and language not in _ALSO_TWO_LETTERS:
            raise InvalidArgument(
                f"{field} is {tag!r}, and {language!r} is no language; write the ISO 639 code of one, for example de",
                field=field,
                reason="UNKNOWN_LANGUAGE",
            )
        return cls(
            language, (match["script"] or "").title(), (match["region"] or "").upper(), (match["rest"] or "").lower()
        )

    def __str__(self) -> str:
        return "-".join(part for part in (self.language, self.script, self.region) if part) + self.rest


def checked(tag: str, *, field: str = "language") -> str:
    """A tag in its usual case; a code of FLORES becomes its tag; an empty text stays empty.

    Raises InvalidArgument (BAD_LANGUAGE, UNKNOWN_LANGUAGE) naming `field`.
    """
    if not tag:
        return ""
    if _CODE.fullmatch(tag):
        return tag_of(tag, field=field)
    return str(Tag.parse(tag, field=field))


def flores_code(tag: str, *, field: str = "language") -> str:
    """The code of FLORES, NLLB and SONAR for a BCP 47 tag: "deu_Latn" for "de". A code stays as it is.

    Raises InvalidArgument naming `field`: BAD_LANGUAGE for what is no tag, UNKNOWN_LANGUAGE for a language, or a script
    of it, that is not among the codes.
    """
    if _CODE.fullmatch(tag):
        return _known_code(tag, field)
    parsed = Tag.parse(tag, field=field)
    language = _TWO_LETTERS.get(parsed.language) or _OTHER_NAMES.get(parsed.language) or parsed.language
    scripts = _SCRIPTS.get(language)
    if scripts is None:
        raise InvalidArgument(
            f"{field} is {tag!r}, which is none of the {len(FLORES_CODES)} languages of NLLB and SONAR; give a related "
            "one that is, or none",
            field=field,
            reason="UNKNOWN_LANGUAGE",
        )
    special = _SPECIAL.get((language, parsed.script or parsed.region))
    if special:
        return special
    script = parsed.script or _FIRST_SCRIPT.get(language, scripts[0])
    if script not in scripts:
        raise InvalidArgument(
            f"{field} is {tag!r}, but NLLB and SONAR know {parsed.language!r} only in the script "
            f"{' and '.join(scripts)}; write {parsed.language}-{scripts[0]}, or leave the script away",
            field=field,
            reason="UNKNOWN_LANGUAGE",
        )
    return f"{language}_{script}"


def tag_of(code: str, *, field: str = "language") -> str:
    """The shortest BCP 47 tag for a code of FLORES: "de" for "deu_Latn", "zh-Hant" for "zho_Hant".

    `flores_code` of it gives the code back. Raises InvalidArgument (UNKNOWN_LANGUAGE) naming `field`.
    """
    code = _known_code(code, field)
    language, script = code[:3], code[4:]
    tag = _SHORT.get(language, language)
    return tag if script == _FIRST_SCRIPT.get(language, script) else f"{tag}-{script}"


def same_language(first: str, second: str) -> bool:
    """Whether two tags name the same language, whatever script, region or name of it: "pt-BR" and "pt", "no" and "nb".

    Raises InvalidArgument for what is no tag.
    """
    return _three_letters(first) == _three_letters(second)


def _three_letters(tag: str) -> str:
    language = Tag.parse(tag).language
    return _TWO_LETTERS.get(language) or _OTHER_NAMES.get(language) or language


def _known_code(code: str, field: str) -> str:
    usual = code[:3].lower() + "_" + code[4:].title()
    if usual not in _KNOWN:
        raise InvalidArgument(
            f"{field} is {code[:MAX_TAG]!r}, which is none of the {len(FLORES_CODES)} codes of NLLB and SONAR; they "
            "are written like deu_Latn",
            field=field,
            reason="UNKNOWN_LANGUAGE",
        )
    return usual


_KNOWN = frozenset(FLORES_CODES)
