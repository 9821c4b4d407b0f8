"""Word lists of the rules: what begins a sentence and is no name, what people are to one another, what they own.

Small, closed, and the same for every namespace: nothing here is learnt from what is told.
"""

from __future__ import annotations

from dataclasses import dataclass

# Capitalised at the beginning of a sentence, or anywhere, without being a name.
NO_NAMES = frozenset(
    """
    a about absolutely actually adding after again agreed ah ai all almost along already alright also although
    always am amazing an and another any anybody anyone anything anytime anyway apart apparently appreciate
    april are around art as asap ask at august aw awesome aww awww back bad be beautiful because been before
    being believe best better between big bring bro btw but by bye call came can cannot capturing care caring
    cars catch cause chat chatting check cheers choosing christmas class clearly color come community congrats
    congratulations connecting cool could couldn count crazy creating currently cute dad damn dancing day days
    dear december deep def definitely delicious despite did didn difficult diy do does doesn doing don done dr
    dreams dude during dvd each earlier early easter easy either else embrace enjoy enjoying especially even
    eventually ever every everybody everyone everything exactly exciting exercise experience experiencing
    expressing fair family fantastic faq far fashion february feel feeling feels few finally finding fingers
    first flowers for forever fr fri friday friends from fun funny fyi gaming get getting girl give giving glad
    go goals going gone gonna good gorgeous gosh got gotcha gotta great guess guys ha had haha halloween hang
    happy hard has hasn have haven having he heck hello help helping her here hers hey hi hiking him his hmm
    hold home honestly hope hopefully hoping horses hot how however huge i if ill im imagine in incredible
    indeed instead interesting into is isn it its ive january journey joy july june just keep keeping kids kind
    know last lastly lately later learning leave leaving less let lets lgbt lgbtq life like listen listening
    literally little ll lol long look looking looks lots love loved lovely loves loving luck luckily made make
    makes making man many march may maybe me meanwhile meet meeting memories mental might mine miss missed mom
    moment moments mon monday money more moreover morning most mostly movies mr mrs ms much mum music must my
    nah name nature nd need never new next nice night no nobody none nope nor normally not nothing november now
    obviously october oh ok okay old omg on once one ones only oof oops or other others otherwise our ours out
    over painting people perfect perhaps personally photo photography pics place plan planning plants please
    plus pm practice pretty probably prof promise proud put quite rather re read reading ready really recently
    recipe reconnecting relationships remember reminds rest right rip running sad same sat saturday saw say
    saying see seeing seeking seems seen send september seriously several shall sharing she short should show
    shows similar simple simply since sir small so some somebody someday somehow someone something sometimes
    somewhere soon sorry sort sounds speaking spending spreading staring start started starting stay staying
    still stuff such sunday super support sure surrounded sweet take taking talk talking teaching tell thank
    thankfully thanks thanksgiving that the their theirs them then there therefore these they thing things think
    thinking this those though thought through thurs thursday time times to today together tomorrow tonight too
    totally travel traveling tried trips true truly trust try trying tues tuesday turns tv two under
    understanding unfortunately unless until up update upon ur us usb used usually very view visiting
    volunteering wait wanna want wanted was wasn watch watching way we wed wednesday week weekend weeks welcome
    well went were what whatever when whenever where whether which while who whoever whose why will win winning
    wish wishing with without woah wonderful woo woohoo work working would wouldn wow writing ya yay yea yeah
    year years yep yes yesterday yet yo you your yours yourself yum yummy
    """.split()
)

# Adjectives of a language or a country: what they speak of is seldom the word itself.
LANGUAGES = (
    "Arabic Bengali Chinese Czech Danish Dutch English Finnish French German Greek Hebrew Hindi Hungarian Irish "
    "Italian Japanese Korean Latin Mandarin Norwegian Persian Polish Portuguese Punjabi Romanian Russian Spanish "
    "Swahili Swedish Tamil Thai Turkish Ukrainian Urdu Vietnamese Welsh"
).split()
ADJECTIVES = frozenset(
    word.lower() for word in [*LANGUAGES, *"African American Asian Australian British Canadian European Indian".split(),
                              *"Mexican Mediterranean Scottish Swiss Western Eastern".split()]
)  # fmt: skip

TITLES = frozenset(
    "dr mr mrs ms miss prof professor sir lady lord captain coach aunt auntie uncle grandma grandpa".split()
)

PERSON, ANIMAL, THING, PLACE, ORGANISATION = "person", "animal", "thing", "place", "organisation"


@dataclass(frozen=True, slots=True)
class Role:
    """What a noun after "my" says: `speaker relation NAME`, and of which kind the one with the name is.

    `lasting` relations hold always; the others from when they are told. `sort` says whether the noun itself is worth a
    Fact: Bruno is a van.
    """

    relation: str
    kind: str = PERSON
    lasting: bool = False
    sort: bool = False


def _roles(nouns: str, role: Role) -> dict[str, Role]:
    return dict.fromkeys(nouns.split(), role)


ROLES: dict[str, Role] = {
    **_roles("sister brother sis bro sibling stepsister stepbrother twin", Role("sibling_of", lasting=True)),
    **_roles("son daughter kid child baby toddler stepson stepdaughter", Role("parent_of", lasting=True)),
    **_roles("mother father mom mum dad mommy daddy stepmom stepdad parent", Role("child_of", lasting=True)),
    **_roles("grandmother grandfather grandma grandpa granddaughter grandson", Role("relative_of", lasting=True)),
    **_roles("aunt uncle cousin niece nephew", Role("relative_of", lasting=True)),
    **_roles("wife husband spouse", Role("married_to")),
    **_roles("girlfriend boyfriend partner", Role("partner_of")),
    **_roles("fiance fiancee fiancé fiancée", Role("engaged_to")),
    **_roles("friend bestie buddy pal bff", Role("friend_of")),
    **_roles("colleague coworker boss manager teammate", Role("colleague_of")),
    **_roles("roommate flatmate housemate", Role("lives_with")),
    **_roles("neighbour neighbor", Role("neighbour_of")),
    **_roles("teacher coach mentor tutor", Role("taught_by")),
    **_roles(
        "dog cat puppy pup kitten kitty bird parrot rabbit bunny hamster turtle tortoise snake lizard horse pony fish "
        "goldfish ferret gecko chicken cow goat pet",
        Role("has_pet", ANIMAL, sort=True),
    ),
    **_roles("car van truck boat bike bicycle motorbike motorcycle camper guitar", Role("owns", THING, sort=True)),
}
PLURALS: dict[str, str] = {
    **{f"{noun}s": noun for noun in ROLES if not noun.endswith(("y", "s", "x", "h", "f"))},
    "children": "child",
    "puppies": "puppy",
    "kitties": "kitty",
    "bunnies": "bunny",
    "ponies": "pony",
}

PROFESSIONS = (
    "accountant actor actress architect artist astronomer attorney author baker barber barista biologist "
    "bookkeeper bartender builder butcher carpenter cashier chef chemist coach comedian composer consultant cook "
    "counselor counsellor dancer dentist designer developer director doctor driver economist editor electrician "
    "engineer farmer firefighter florist gardener geologist hairdresser historian illustrator instructor "
    "journalist judge lawyer lecturer librarian manager mechanic midwife model musician novelist nurse "
    "nutritionist optician painter paralegal paramedic pharmacist photographer physicist physiotherapist pianist "
    "pilot plumber poet politician postman producer professor programmer psychiatrist psychologist publicist "
    "realtor reporter researcher sailor salesman scientist sculptor screenwriter secretary singer soldier "
    "solicitor statistician streamer surgeon surveyor tailor teacher therapist translator tutor veterinarian vet "
    "waiter waitress welder writer"
).split()
