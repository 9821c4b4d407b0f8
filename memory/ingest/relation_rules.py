"""What is said how, as a table: each rule is a pattern with the relation it states, and examples that are its tests.

The parts of patterns in braces are explained in `relation_patterns`. What makes a statement none (a question, a denial,
an "if") is not said here but holds for all rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from core.nouns import Contradiction
from memory.ingest.words import LANGUAGES, PROFESSIONS


class When(Enum):
    """What the time of a Fact is, given a date in the sentence, if there is one, and the time of telling."""

    STATE = "from the date on, or from when it was told"
    PAST = "during the date, or until it was told"
    EVENT = "during the date, or on the day it was told"
    PLAN = "from when it was told to the end of the date"
    ALWAYS = "at all times"
    ENDS = "a retraction, from the date or from when it was told"


@dataclass(frozen=True, slots=True)
class RelationRule:
    """One way to say something. `triggers` are words, in lower case, of which every match has one.

    `trust` says roughly how often such a sentence means what the rule reads in it. `examples` are sentences that Nora
    says, each with the (subject, relation, object) that it states.
    """

    name: str
    relation: str
    pattern: str
    triggers: str
    when: When
    trust: float
    examples: tuple[tuple[str, tuple[str, str, str]], ...]
    literal: bool = False
    """The object is words, even where they are a name."""


POLICIES = {
    "lives_in": Contradiction.SINGLE,
    "works_at": Contradiction.SINGLE,
    "born_in": Contradiction.SINGLE,
    "born_on": Contradiction.SINGLE,
    "birthday": Contradiction.SINGLE,
}
"""Relations of which one object holds at a time: who moves to Rome no longer lives in Paris. All rules of such a
relation have one trust, so that the later telling counts and not the better rule."""

_JOB = r"(?:an?|my|our|the|his|her|their) (?:new |full-time |part-time |summer )?(?:job|position|role|internship|post)"
_TRIP = r"(?:an?|our|my) (?:\w+ )?(?:trip|vacation|holiday|getaway|visit)"
_FIRM = "|".join(
    "business company store shop studio bakery restaurant cafe café blog podcast channel charity club school".split()
)

RULES: tuple[RelationRule, ...] = (
    RelationRule(
        "lives in", "lives_in",
        r"{S}{ADV} lives? in {N}|{S}{BE}{ADV} (?:living|based|settled) in {N}|"
        r"{S}(?:['’]ve|['’]s| have| has)(?: been living| lived) in {N}",
        "live lives living lived based settled", When.STATE, 0.9,
        (("I live in Paris.", ("Nora", "lives_in", "Paris")),
         ("My sister Anna has been living in New York since 2019.", ("Anna", "lives_in", "New York")),
         ("Tom lives in Oslo now.", ("Tom", "lives_in", "Oslo"))),
    ),
    RelationRule(
        "moved to", "lives_in", r"{S}{HAVE}{ADV} (?:moved|relocated)(?: back| here| over)?(?: from {F})? to {N}",
        "moved relocated", When.STATE, 0.9,
        (("We moved to Rome last month.", ("Nora", "lives_in", "Rome")),
         ("Anna has just moved from Paris to Lyon.", ("Anna", "lives_in", "Lyon"))),
    ),
    RelationRule(
        "moved from", "lives_in", r"{S}{HAVE}{ADV} (?:moved|relocated)(?: away| here| back)? (?:from|out of) {N}",
        "moved relocated", When.ENDS, 0.9,
        (("Anna has just moved from Paris to Lyon.", ("Anna", "lives_in", "Paris")),
         ("I moved out of Berlin last year.", ("Nora", "lives_in", "Berlin"))),
    ),
    RelationRule(
        "lived in", "lives_in", r"{S}(?: used to live| lived| was living| were living)(?: here)? in {N}",
        "live lived living", When.PAST, 0.9,
        (("I used to live in Madrid.", ("Nora", "lives_in", "Madrid")),
         ("Tom lived in Oslo from 2010 to 2014.", ("Tom", "lives_in", "Oslo"))),
    ),
    RelationRule(
        "no longer lives in", "lives_in",
        r"{S} (?:no longer lives?|(?:don['’]t|doesn['’]t|do not|does not) live) in {N}(?: any ?more| any longer)?",
        "live lives", When.ENDS, 0.9,
        (("I no longer live in Paris.", ("Nora", "lives_in", "Paris")),
         ("Anna doesn't live in Lyon anymore.", ("Anna", "lives_in", "Lyon"))),
    ),
    RelationRule(
        "is from", "comes_from", r"{S}{BE}(?: originally)? from {N}|{S} (?:grew up|was raised|were raised) in {N}",
        "from grew raised", When.ALWAYS, 0.8,
        (("I'm originally from Sweden.", ("Nora", "comes_from", "Sweden")),
         ("Tom grew up in Galway.", ("Tom", "comes_from", "Galway"))),
    ),
    RelationRule(
        "born in", "born_in", r"{S} (?:was|were) born(?: and raised)? in {N}", "born", When.ALWAYS, 0.9,
        (("I was born in Lisbon.", ("Nora", "born_in", "Lisbon")),),
    ),
    RelationRule(
        "born on", "born_on", r"{S} (?:was|were) born(?: in {F})?,? {DATE}", "born", When.ALWAYS, 0.9,
        (("I was born on 3 May 1990.", ("Nora", "born_on", "1990-05-03")),
         ("Tom was born in June 1988.", ("Tom", "born_on", "1988-06"))),
    ),
    RelationRule(
        "birthday", "birthday", r"(?P<subject>[Mm]y|{NAME}['’]s) birthday(?: is|['’]s|:) {DATE}",
        "birthday", When.ALWAYS, 0.9,
        (("My birthday is on 3 May.", ("Nora", "birthday", "05-03")),
         ("Tom's birthday is October 31st.", ("Tom", "birthday", "10-31"))),
    ),
    RelationRule(
        "works at", "works_at",
        r"{S}{ADV} works? (?:at|for) {N}|{S}{BE}{ADV} working (?:at|for) {N}|"
        rf"{{S}}{{HAVE}}{{ADV}} (?:got|landed|started|accepted|took) {_JOB} (?:at|with) {{N}}|"
        r"{S}{HAVE}{ADV} started working (?:at|for) {N}",
        "work works working job position role internship post", When.STATE, 0.8,
        (("I work at Siemens.", ("Nora", "works_at", "Siemens")),
         ("Tom is working for the Red Cross.", ("Tom", "works_at", "Red Cross")),
         ("I just started a new job at Nestlé.", ("Nora", "works_at", "Nestlé"))),
    ),
    RelationRule(
        "left a job", "works_at",
        rf"{{S}}{{HAVE}}{{ADV}} (?:quit|left|lost|resigned from) {_JOB} (?:at|with) {{N}}|"
        r"{S} no longer works? (?:at|for) {N}|{S}{HAVE}{ADV} (?:stopped|quit) working (?:at|for) {N}|"
        r"{S} (?:don['’]t|doesn['’]t|do not|does not) work (?:at|for) {N}(?: any ?more| any longer)?",
        "quit left lost resigned work works stopped", When.ENDS, 0.8,
        (("I quit my job at Siemens last week.", ("Nora", "works_at", "Siemens")),
         ("Tom no longer works for Nestlé.", ("Tom", "works_at", "Nestlé")),
         ("I don't work at Siemens anymore.", ("Nora", "works_at", "Siemens"))),
    ),
    RelationRule(
        "works as", "works_as",
        r"{S}{ADV} works? as an? {O}|{S}{BE}{ADV} working as an? {O}|"
        rf"{{S}}{{BE}}{{ADV}} an? (?P<object>(?:\w+ ){{0,2}}(?:{'|'.join(PROFESSIONS)})){{END}}(?! at heart)",
        f"works work working {' '.join(PROFESSIONS)}", When.STATE, 0.8,
        (("I work as a tax lawyer.", ("Nora", "works_as", "tax lawyer")),
         ("My sister is a nurse.", ("Nora's sister", "works_as", "nurse"))),
        literal=True,
    ),
    RelationRule(
        "married", "married_to",
        r"{S}{HAVE}{ADV}(?: been)? married {N}|{S}(?:{BE}| was| were| got|{HAVE} been){ADV} married to {N}",
        "married", When.STATE, 0.9,
        (("I married Tom in 2015.", ("Nora", "married_to", "Tom")),
         ("Anna is married to Luca.", ("Anna", "married_to", "Luca"))),
    ),
    RelationRule(
        "divorced", "married_to", r"{S}{HAVE}{ADV} (?:got )?divorced(?: from)? {N}|{S}{BE}{ADV} divorced from {N}",
        "divorced", When.ENDS, 0.9,
        (("Anna divorced Luca last year.", ("Anna", "married_to", "Luca")),),
    ),
    RelationRule(
        "engaged", "engaged_to", r"{S}(?:{BE}| got|{HAVE}(?: gotten| got)?){ADV} engaged to {N}",
        "engaged", When.STATE, 0.9,
        (("I'm engaged to Tom.", ("Nora", "engaged_to", "Tom")),),
    ),
    RelationRule(
        "met", "met", r"{S}{HAVE}{ADV} met {N}", "met", When.EVENT, 0.7,
        (("I met Anna yesterday.", ("Nora", "met", "Anna")),),
    ),
    RelationRule(
        "has a pet", "has_pet",
        r"{S}{HAVE}{ADV} (?:have|has|got|adopted|rescued|bought) (?:an?|another|two|three) (?:[a-z]+ ){0,2}?{PET}"
        r"(?: (?:named|called) {N})?(?! (?:house|food|shelter|show|sanctuary|cafe|park))",
        "have has got adopted rescued bought", When.STATE, 0.8,
        (("We have a little dog called Bruno.", ("Nora", "has_pet", "Bruno")),
         ("Tom adopted a cat last week.", ("Tom", "has_pet", "cat"))),
    ),
    RelationRule(
        "owns", "owns", r"{S}{ADV} owns? {O}", "own owns", When.STATE, 0.8,
        (("I own a small bakery.", ("Nora", "owns", "small bakery")),),
    ),
    RelationRule(
        "bought", "bought", r"{S}{HAVE}{ADV} (?:bought|purchased)(?: myself| ourselves)? {O}",
        "bought purchased", When.EVENT, 0.8,
        (("I just bought a new bike.", ("Nora", "bought", "new bike")),),
    ),
    RelationRule(
        "likes", "likes",
        r"(?:{I}{ADV} (?:love|like|enjoy|adore)|{S}{ADV} (?:loves|likes|enjoys|adores)) "
        r"(?!the )(?:{DOING}|(?>{O})(?! that| who| which| when))|"
        r"{S}{BE}{ADV} (?:a (?:big |huge |massive )?fan of|passionate about|fond of|keen on|obsessed with) "
        r"(?!the )(?:{DOING}|(?>{O}))",
        "love loves like likes enjoy enjoys adore adores fan passionate fond keen obsessed", When.STATE, 0.7,
        (("I love hiking.", ("Nora", "likes", "hiking")),
         ("Tom's a big fan of Mozart.", ("Tom", "likes", "Mozart"))),
    ),
    RelationRule(
        "dislikes", "dislikes", r"(?:{I}{ADV} (?:hate|dislike)|"
        r"{S}{ADV} (?:hates|dislikes|can['’]t stand|(?:don['’]t|doesn['’]t) like)) "
        r"(?!the )(?:{DOING}|(?>{O})(?! that| who| which| when))",
        "hate hates dislike dislikes stand like", When.STATE, 0.7,
        (("I hate coriander.", ("Nora", "dislikes", "coriander")),
         ("Tom doesn't like cold weather.", ("Tom", "dislikes", "cold weather"))),
    ),
    RelationRule(
        "favourite", "favourite",
        r"(?P<subject>[Mm]y|{NAME}['’]s) (?:absolute |all-time )?favou?rite (?P<sort>\w+(?: \w+)?) "
        r"(?:is|are|has to be) {O}",
        "favorite favourite", When.STATE, 0.8,
        (('My favourite book is "Emma".', ("Nora", "favourite_book", "Emma")),
         ("Tom's favorite food is pad thai.", ("Tom", "favourite_food", "pad thai"))),
    ),
    RelationRule(
        "allergic", "allergic_to", r"{S}{BE}{ADV} allergic to {O}", "allergic", When.STATE, 0.9,
        (("I'm allergic to peanuts.", ("Nora", "allergic_to", "peanuts")),),
        literal=True,
    ),
    RelationRule(
        "studies", "studies",
        r"{S}{BE}{ADV} (?:studying|majoring in) (?!for|abroad|hard|at|in)\b{O}|"
        r"{S} (?:study|studies|studied|majored in) (?!for|abroad|hard|at|in)\b{O}",
        "studying majoring study studies studied majored", When.STATE, 0.8,
        (("I'm studying biology.", ("Nora", "studies", "biology")),
         ("Anna studies law.", ("Anna", "studies", "law"))),
        literal=True,
    ),
    RelationRule(
        "learns", "learns",
        r"{S}{BE}{ADV} learning (?:how to {V}|to {V}|(?!about|that|from|more|so|a lot|lots|to|how)\b{O})|"
        r"{S}{HAVE}{ADV} (?:started|began) learning (?:how to {V}|to {V}|{O})",
        "learning", When.STATE, 0.7,
        (("I'm learning Spanish.", ("Nora", "learns", "Spanish")),),
        literal=True,
    ),
    RelationRule(
        "studies at", "studies_at",
        r"{S} (?:study|studies) at {N}|{S}{BE}{ADV} (?:studying|a student) at {N}|{S}{ADV} attends? {N}",
        "study studies studying student attend attends", When.STATE, 0.8,
        (("Anna studies at Oxford.", ("Anna", "studies_at", "Oxford")),),
    ),
    RelationRule(
        "graduated", "graduated_from", r"{S}{HAVE}{ADV} graduated from {N}", "graduated", When.EVENT, 0.9,
        (("Tom graduated from Harvard in 2010.", ("Tom", "graduated_from", "Harvard")),),
    ),
    RelationRule(
        "visited", "visited",
        r"{S}{HAVE}{ADV} (?:visited|toured) {O}|"
        r"{S}{HAVE}{ADV} (?:went|been|travell?ed|flew|drove|hiked)(?: back| over)? to "
        r"(?:(?P<object>(?:an?|the) {WORDS})|{N})|"
        r"{S}{HAVE}{ADV} (?:came|got|returned)(?: back)? from {N}|"
        rf"{{S}}{{HAVE}}{{ADV}} (?:took|had|went on) {_TRIP} (?:to|in) {{N}}",
        "visited toured went been traveled travelled flew drove hiked back returned trip vacation holiday getaway "
        "visit",
        When.EVENT, 0.8,
        (("I went to Rome last week.", ("Nora", "visited", "Rome")),
         ("We visited the Louvre on 3 May 2021.", ("Nora", "visited", "Louvre")),
         ("Tom took a short trip to Ireland.", ("Tom", "visited", "Ireland"))),
    ),
    RelationRule(
        "took part", "took_part_in",
        r"{S}{HAVE}{ADV} (?:attended|participated in|took part in|competed in|joined|signed up for|enrolled in|"
        r"performed at|performed in|volunteered at|ran in|hosted|organi[sz]ed) {O}",
        "attended participated took competed joined signed enrolled performed volunteered ran hosted organised "
        "organized",
        When.EVENT, 0.7,
        (("I attended a pottery workshop yesterday.", ("Nora", "took_part_in", "pottery workshop")),
         ("Anna joined the Red Cross.", ("Anna", "took_part_in", "Red Cross"))),
    ),
    RelationRule(
        "plans", "plans_to",
        r"{S}{BE}{ADV} (?:planning to|going to|gonna|hoping to) {V}|{S}{ADV} (?:plans?|hopes?|intends?) to {V}|"
        r"{S}{BE}{ADV} planning (?:on )?(?:(?P<object>an? {WORDS})|{DOING})",
        "planning going gonna hoping plan plans hope hopes intend intends", When.PLAN, 0.7,
        (("I'm planning to open a bakery next year.", ("Nora", "plans_to", "open a bakery")),
         ("We're going to visit Anna in June.", ("Nora", "plans_to", "visit Anna"))),
        literal=True,
    ),
    RelationRule(
        "plans a journey", "plans_to",
        r"{S}(?:{BE}| will be|['’]ll be){ADV} (?P<object>(?:moving|flying|travell?ing|driving) to {NAME})",
        "moving flying traveling travelling driving", When.PLAN, 0.8,
        (("I'm moving to Rome next month.", ("Nora", "plans_to", "moving to Rome")),),
        literal=True,
    ),
    RelationRule(
        "started", "does",
        r"{S}{HAVE}{ADV} (?:started|began|begun)(?: doing)? (?!learning){DOING}",
        "started began begun", When.STATE, 0.7,
        (("I started swimming last month.", ("Nora", "does", "swimming")),),
        literal=True,
    ),
    RelationRule(
        "stopped", "does",
        r"{S}{HAVE}{ADV} (?:stopped|quit|gave up|given up) {DOING}",
        "stopped quit gave given", When.ENDS, 0.7,
        (("I quit smoking two years ago.", ("Nora", "does", "smoking")),),
        literal=True,
    ),
    RelationRule(
        "founded", "founded",
        r"{S}{HAVE}{ADV} (?:launched|opened|founded|started|set up) (?:my|our|his|her|their|an?)(?: own)?(?: new)? "
        rf"(?P<object>(?:\w+ ){{0,2}}(?:{_FIRM})){{END}}",
        "launched opened founded started set", When.EVENT, 0.8,
        (("I opened my own bakery in 2019.", ("Nora", "founded", "bakery")),
         ("Tom has started a small record company.", ("Tom", "founded", "small record company"))),
        literal=True,
    ),
    RelationRule(
        "plays", "plays",
        r"{S}{ADV} plays? (?!(?:an?|the) (?:\w+ )?(?:role|part)\b)(?:the )?{O}|"
        r"{S}(?:['’]ve|['’]s| have| has) been playing (?:the )?{O}",
        "play plays playing", When.STATE, 0.7,
        (("I play the cello.", ("Nora", "plays", "cello")),),
        literal=True,
    ),
    RelationRule(
        "speaks", "speaks",
        rf"{{S}}{{ADV}}(?: can)? speaks?(?: fluent| some| a little)? (?P<object>{'|'.join(LANGUAGES)})\b",
        "speak speaks", When.STATE, 0.9,
        (("Anna speaks Portuguese.", ("Anna", "speaks", "Portuguese")),),
        literal=True,
    ),
    RelationRule(
        "made", "made",
        r"{S}{HAVE}{ADV} (?:painted|wrote|published|recorded|directed|baked|knitted|composed|drew|built|"
        r"finished writing) "
        r"(?P<object>(?:an?|my|our|this|these|another) {WORDS}|{QUOTED})",
        "painted wrote published recorded directed baked knitted composed drew finished built", When.EVENT, 0.7,
        (("I painted a sunset last year.", ("Nora", "made", "sunset")),),
        literal=True,
    ),
    RelationRule(
        "won", "won", r"{S}{HAVE}{ADV} won (?P<object>(?:an?|my|our|the|first|second) {WORDS})",
        "won", When.EVENT, 0.8,
        (("We won the regional final on Friday.", ("Nora", "won", "regional final")),),
        literal=True,
    ),
    RelationRule(
        "works on", "works_on", r"{S}{BE}{ADV} working on {O}", "working", When.STATE, 0.7,
        (("I'm working on a new screenplay.", ("Nora", "works_on", "new screenplay")),),
        literal=True,
    ),
    RelationRule(
        "volunteers", "volunteers_at",
        r"{S}{ADV} volunteers? (?:at|for|with) {O}|{S}{BE}{ADV} volunteering (?:at|for|with) {O}",
        "volunteer volunteers volunteering", When.STATE, 0.8,
        (("I volunteer at a homeless shelter.", ("Nora", "volunteers_at", "homeless shelter")),),
    ),
    RelationRule(
        "is aged", "age", r"{S}{BE}{ADV} (?P<object>\d{1,3}) years? old", "old", When.STATE, 0.8,
        (("My son Max is 5 years old.", ("Max", "age", "5")),),
        literal=True,
    ),
)  # fmt: skip
