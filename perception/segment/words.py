"""The words that sentence boundaries hang on, in the languages where a full stop also abbreviates.

All are matched without their last full stop; abbreviations in lower case, starters as they are written at the start of
a sentence. The lists are short on purpose: an abbreviation that is missing costs one cut too many, and a word that is
wrongly in a list glues sentences together.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEVER_FINAL = _words(
    """
    mr mrs ms mx dr prof rev hon gen col maj capt cpt lt sgt cmdr adm gov sen rep pres supt messrs mme mlle mgr
    e.g i.e cf vs viz approx incl excl resp dept ave blvd mt ft sr.a sra srta dra ing arq lic
    bzw ca evtl ggf inkl zzgl usw.z z.b d.h u.a o.ä hr fr hrn st geb gest bspw sog u.u v.a i.d.r
    bd vgl dhr mevr drs bijv o.a d.w.z p.ej c.à.d av avda ee sig dott avv p.zza им ул гр т.е т.к см напр проф акад
    ul inż tzn tzv kl bl.a t.ex डॉ श्री د κ κα
    """
)
"""A sentence does not end with these: a name, an example or a number follows."""

BEFORE_NUMBER = _words(
    "no nos nr nº n p pp pg pag vol vols ch chap sec sect fig figs eq eqs art para tab ex op v abs č ok h д кв стр"
)
"""Abbreviations when a digit follows ("No. 5"), words of their own when none does ("I said no.")."""

MAY_BE_FINAL = _words(
    """
    etc inc ltd co corp bros jr sr al a.m p.m u.s u.k u.n e.u u.s.a d.c b.c a.d ph.d m.d b.a m.a b.sc m.sc
    jan feb mar apr jun jul aug sep sept oct nov dec tue tues thu thurs fri
    usw etw s.a cie uu ст.л т.д т.п г гг
    """
)
"""These end a sentence only where a word follows that begins one."""

STARTERS = _words(
    """
    The A An This That These Those There Here It He She We They You I My Your His Her Its Our Their
    But And Or So Then Now Yet Also When While If As After Before Because Although Since Until In On At By For
    From To With Without What Who Why How Where Which Is Are Was Were Do Does Did Can Could Will Would Should
    Has Have Had Let Please Yes No Not Once However Meanwhile Later Today Yesterday Tomorrow Some Most Many All Both
    Der Die Das Ein Eine Er Sie Es Wir Ihr Ich Und Aber Dann Wenn Als Auch Doch Mit Nach Im
    Le La Les Un Une Il Elle Ils Elles Nous Vous Je On Ce Cette Mais Et Ou Puis Dans En Au Après
    El Los Las Una Yo Él Ella Ellos Pero Y Con Por Para Después Lo Gli Io Lui Lei Noi Ma E Poi Nel
    O Os As Um Uma Eu Ele Ela Nós Mas De Het Een Hij Zij Wij Maar Toen Он Она Оно Они Мы Вы Я Но И А В На Это Его Её Их
    """
)
"""Words that, in capitals after an abbreviation, mean that a new sentence has begun."""

ORDINAL_FOLLOWERS = _words(
    """
    Januar Jänner Februar März April Mai Juni Juli August September Oktober November Dezember Jahrhundert Jahrhunderts
    januar februar marts mars april mai maj juni juli august september oktober november desember december
    """
)
"""After "3." these make it an ordinal ("am 3. Mai"), not the end of a sentence."""
