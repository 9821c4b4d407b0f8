"""The words of the grammar that makes sentences: names, places, things, people, verbs with their forms, and so on.

Lists only. They are written for this project and make no claim about how often a word is used.
`perception.codec.grammar` puts them into sentences.
"""

from __future__ import annotations

from dataclasses import dataclass


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _lines(text: str) -> tuple[str, ...]:
    return tuple(one.strip() for one in text.replace("\n", " ").split(",") if one.strip())


FIRST_NAMES = _words(
    """Aaron Ada Adam Aisha Alan Albert Alex Alice Alina Amal Amara Amber Amina Amy Ana Andre Andrew Angela Anita Anna
    Anton Arthur Asha Astrid Ava Axel Barbara Beatrice Bella Ben Bianca Boris Brenda Brian Bruno Carla Carlos Carmen
    Caroline Cecil Celine Chen Chloe Chris Clara Claude Colin Connie Cora Cyril Daisy Dana Daniel Daria David Dennis
    Diana Diego Dmitri Dora Doris Dylan Edgar Edith Edward Elena Eli Elias Eliza Ella Ellen Elsa Emil Emily Emma Eric
    Erika Esther Ethan Eva Evelyn Fatima Felix Fiona Florence Frances Frank Freya Gabriel Gemma George Gerda Gina
    Gloria Grace Greta Gustav Hana Hanna Harold Harry Hassan Hazel Heidi Helen Henry Hilda Hugo Ian Ibrahim Ida Igor
    Ines Ingrid Irene Iris Isaac Isabel Ivan Ivy Jack Jacob James Jamila Jan Jane Jasper Jean Jenny Jim Joan Joel John
    Jonas Jose Josef Joyce Juan Judith Julia Julian Karen Karim Karl Kate Keiko Kenji Kevin Kira Klaus Lara Laura Lea
    Lena Leo Leon Liam Lila Lily Linda Lisa Liz Lola Louis Louise Lucas Lucy Luigi Luis Lydia Magda Malik Marco
    Margaret Maria Marie Mark Marta Martin Mary Matteo Max Maya Megan Mei Melissa Mia Michael Mila Milo Mina Miriam
    Mohamed Molly Monica Nadia Naomi Nate Nathan Nell Nick Nina Noah Noor Nora Norman Olaf Olga Oliver Olivia Omar
    Oscar Otto Pablo Pam Patrick Paul Paula Pedro Penny Peter Petra Philip Pia Priya Quentin Rachel Ralph Ramon Ravi
    Rebecca Rex Rita Robert Robin Rosa Rose Rosie Ruby Rudi Ruth Ryan Sally Sam Samira Sandra Sara Sasha Sean Selma
    Sergio Silvia Simon Sofia Sonia Stefan Stella Steve Susan Sven Tanya Tara Ted Teresa Theo Thomas Tim Tina Tobias
    Tom Tony Ursula Vera Victor Viktor Vincent Viola Walter Wanda Wendy Will Xavier Yara Yasmin Yuki Yusuf Zara Zoe"""
)
SURNAMES = _words(
    """Adler Ahmed Allen Baker Barnes Becker Bell Bennett Berg Black Brooks Brown Carter Castro Chan Clark Cohen Cole
    Cooper Costa Cruz Davis Diaz Evans Fischer Ford Foster Garcia Gibson Gomez Grant Gray Green Hall Hansen Harris
    Haas Hill Holmes Hughes Jensen Jones Keller Kelly Khan Kim King Klein Kumar Lang Larsen Lee Lewis Lopez Mason
    Meyer Miller Moore Morgan Murphy Novak Okafor Olsen Owen Park Patel Perez Price Quinn Reed Reyes Rivera Rossi
    Russo Sato Schmidt Scott Shaw Silva Singh Smith Stone Suzuki Tanaka Taylor Turner Walker Wang Ward Weber White
    Wilson Wong Wright Young"""
)
CITIES = _lines(
    """Amsterdam, Athens, Baghdad, Bangkok, Barcelona, Beijing, Belfast,
    Belgrade, Berlin, Bern, Bogota, Bologna,
    Boston, Bratislava, Bremen, Brussels, Bucharest, Budapest, Cairo, Cardiff, Chicago, Cologne, Copenhagen, Cork,
    Dakar, Delhi, Denver, Dresden, Dublin, Edinburgh, Florence, Frankfurt, Geneva, Genoa, Ghent, Glasgow, Granada, Graz,
    Hamburg, Hanoi, Havana, Helsinki, Houston, Istanbul, Jakarta, Kyoto, Lagos, Leeds, Leipzig, Lima, Lisbon,
    Liverpool, London, Lyon, Madrid, Manchester, Marseille, Melbourne, Miami, Milan, Montreal, Moscow, Mumbai, Munich,
    Nairobi, Nantes, Naples, New York, Nice, Osaka, Oslo, Ottawa, Oxford, Palermo, Paris, Porto, Prague, Quebec,
    Reykjavik, Riga, Rome, Rotterdam, Salzburg, San Francisco, Santiago, Seattle, Seoul, Seville, Shanghai, Sofia,
    Stockholm, Sydney, Tallinn, Tokyo, Toronto, Trieste, Turin, Utrecht, Valencia, Vancouver, Venice, Vienna, Warsaw,
    Washington, York, Zagreb, Zurich"""
)
COUNTRIES = _lines(
    """Argentina, Australia, Austria, Belgium, Brazil, Bulgaria, Canada, Chile, China, Croatia, Denmark, Egypt, Finland,
    France, Germany, Greece, Hungary, Iceland, India, Ireland, Italy, Japan, Kenya, Mexico, Morocco, Norway, Peru,
    Poland, Portugal, Romania, Scotland, Spain, Sweden, Switzerland, Turkey, Vietnam, Wales"""
)
LANGUAGES = _words(
    """Arabic Chinese Danish Dutch English Finnish French German Greek Hindi Hungarian Italian Japanese Korean Norwegian
    Polish Portuguese Russian Spanish Swedish Turkish"""
)
PLACES = _words(
    """airport attic bakery balcony bank bar barn basement bathroom beach bookshop bridge cafe campsite canteen castle
    cathedral cellar church cinema classroom clinic club corridor cottage courtyard dentist factory farm field forest
    fountain gallery garage garden greenhouse gym hall harbour hospital hostel hotel island kitchen laboratory lake
    library lighthouse market meadow mill monastery mosque mountain museum office opera orchard park pharmacy pier
    playground pond port restaurant river school shop shed square stadium station studio supermarket surgery temple
    terrace theatre tower university valley village warehouse waterfall workshop yard zoo"""
)
ROOMS = _words("attic basement bathroom bedroom cellar garage garden hall hallway kitchen office shed")
ROLES = _words(
    """accountant actor aunt author baker barber brother builder butcher captain carpenter chef child clerk coach
    colleague cook cousin customer dancer daughter dentist designer director doctor driver editor electrician engineer
    farmer father firefighter fisherman friend gardener girl granddaughter grandfather grandmother guard guest guide
    hairdresser janitor journalist judge landlord lawyer librarian manager mechanic minister mother musician neighbour
    nephew niece nurse officer painter partner passenger photographer pianist pilot plumber poet porter postman
    professor sailor scientist secretary sergeant shepherd singer sister soldier son stranger student tailor teacher
    tenant thief tourist uncle vet visitor waiter waitress watchmaker witness writer boy"""
)
FAMILY = _words("aunt brother cousin daughter father grandfather grandmother mother nephew niece sister son uncle")
THINGS = _words(
    """alarm album apron backpack bag ball balloon banjo basket battery bell belt bench bicycle blanket boat bolt book
    boot bottle bowl box bracelet branch brick broom brush bucket bulb button cable cage calendar camera candle cap
    car carpet cart case ceiling chain chair chest clock coat coin comb compass computer cord couch crate cup curtain
    cushion desk diary dictionary door drawer dress drill drum envelope fan fence fiddle flag flute folder fork frame
    fridge glass globe glove guitar hammer handbag hat heater helmet hose jacket jar jug kettle key keyboard kite
    knife ladder lamp laptop leaf letter lid lock magazine map mask mattress medal microphone mirror mug nail necklace
    needle net newspaper notebook nut oar oven package paddle painting pan parcel passport pen pencil phone photo
    piano picture pillow pipe plate poster pot printer purse puzzle radio raft rake ring robe rope rug ruler sack
    saddle sail saw scarf scooter screen screw shelf shell shirt shoe shovel sign sink skirt sledge soap sofa spade
    spoon stamp statue stone stool stove string suitcase sweater sword table tablet tap tent ticket tie toaster tool
    torch towel toy tractor tray trophy truck trumpet typewriter umbrella van vase violin wallet wardrobe watch wheel
    whistle window wire"""
)
ANIMALS = _words(
    """ant bat bear bee beetle bird bull butterfly calf camel cat chicken cow crab crow deer dog donkey duck eagle
    elephant fish fly fox frog goat goose hamster hare hawk hedgehog hen horse kitten lamb lion lizard monkey mouse
    owl parrot pig pigeon pony puppy rabbit rat raven rooster seal shark sheep snail snake sparrow spider squirrel
    swan tiger turtle whale wolf worm"""
)
FOODS = _words(
    """apple pie bacon bread butter cabbage cake carrots cheese cherries chocolate chicken coffee corn cream curry eggs
    fish fruit garlic grapes ham honey jam juice lemonade lentils lettuce milk mushrooms mustard noodles nuts oats
    olives onions oranges pancakes pasta peaches pears peas pepper pizza plums porridge potatoes pudding pumpkin rice
    salad salt sandwiches sausages soup spinach stew strawberries sugar tea toast tomatoes vegetables vinegar walnuts
    water wine yogurt"""
)
COLOURS = _words("black blue brown golden green grey orange pink purple red silver white yellow")
ADJECTIVES = _words(
    """ancient awful beautiful big blunt brave bright broken cheap clean clever cold comfortable cracked curious damp
    dark dear deep dirty dry dusty easy elegant empty enormous expensive faded fancy fast fine flat foreign fragile
    fresh friendly full funny gentle good hard heavy hidden high hollow hot huge ideal large lazy light little lonely
    long loud lovely low lucky modern muddy narrow nasty neat new noisy odd old ordinary perfect plain pleasant poor
    pretty quick quiet rare rich rough round rusty sad safe secret serious shallow sharp shiny short silent simple
    slow small smooth soft solid special square steep sticky straight strange strong sturdy sweet tall thick thin tidy
    tiny torn ugly unusual useful warm weak wet wide wild wonderful wooden wrong young"""
)
MOODS = _words(
    """afraid alone angry anxious ashamed asleep awake bored busy calm careful certain cheerful confused content curious
    delighted disappointed eager excited furious glad grateful happy healthy homesick hungry ill jealous late lonely
    lost lucky nervous patient pleased polite proud ready relieved sad satisfied sick sleepy sorry surprised thirsty
    tired upset worried"""
)
ADVERBS = _words(
    """accidentally almost already badly barely bravely briefly calmly carefully certainly cheerfully clearly completely
    eagerly easily finally gently gladly happily honestly hurriedly immediately kindly loudly luckily nearly nervously
    nicely often patiently perfectly politely probably proudly quickly quietly rarely really recently sadly safely
    seldom seriously silently simply slowly softly soon steadily suddenly surely usually warmly"""
)
OPENERS = _lines(
    """Actually, After all, Afterwards, As usual, At first, At last, By chance, By the way, Finally, For once,
    Fortunately, From time to time, In fact, In the end, Later, Luckily, Meanwhile, Of course, Once again, Sadly, So
    far, Sometimes, Soon after, Strangely, Suddenly, Then, To be honest, To my surprise, Unfortunately"""
)
WEEKDAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _words("January February March April May June July August September October November December")
SEASONS = _words("spring summer autumn winter")
SUBJECTS = _lines(
    """the weather, the election, the concert, the exam, the accident, the wedding,
    the holiday, the film, the match,
    the garden, the neighbours, the new job, the news, the party, the plan, the price of bread, the rent, the school,
    the storm, the strike, the trip, the war, music, history, politics, money, football, chess, art, science, gardening,
    the old days"""
)
SUBJECTS_TAUGHT = _words(
    """algebra art astronomy biology carpentry chemistry chess cooking dancing drawing economics geography history law
    mathematics medicine music painting philosophy physics poetry sewing singing swimming"""
)
INSTRUMENTS = _words("accordion banjo cello clarinet drum fiddle flute guitar harp organ piano trumpet violin")
GAMES = _lines(
    "basketball, cards, chess, cricket, dominoes, football, golf, handball, hockey, rugby, tennis, volleyball"
)
EVENTS = _lines(
    """ball, banquet, carnival, ceremony, competition, concert, conference, course, exhibition, fair, festival, film,
    funeral, game, interview, journey, lecture, lesson, match, meeting, opera, parade, party, performance, play, race,
    reunion, speech, strike, tournament, trial, trip, walk, wedding"""
)
WEATHER = _lines(
    """It rained, It snowed, The sun shone, The wind blew, A storm raged, It was foggy, It was freezing, It was hot, It
    was cloudy, It was windy, There was thunder, It drizzled, It hailed"""
)
TRANSPORT = _lines(
    "by bicycle, by boat, by bus, by car, by ferry, by plane, by taxi, by train, by tram, on foot, on horseback"
)
UNITS = _lines(
    """bottles, boxes, cups, dozens, glasses, kilos, litres, miles, pages, pairs, pieces, pounds, slices, tons, bags,
    sacks, baskets, jars"""
)
GREETINGS = _lines(
    "Hello, Hi, Good morning, Good evening, Good afternoon, Welcome back, Good night, Thanks, Sorry, Cheers"
)


@dataclass(frozen=True, slots=True)
class Verb:
    """The forms of a verb: to mend, mends, mended, has mended, mending."""

    base: str
    third: str
    past: str
    participle: str
    gerund: str


_IRREGULAR = {
    "begin": "began begun", "bite": "bit bitten", "break": "broke broken", "bring": "brought brought",
    "build": "built built", "burn": "burnt burnt", "buy": "bought bought", "catch": "caught caught",
    "choose": "chose chosen", "come": "came come", "cut": "cut cut", "dig": "dug dug", "draw": "drew drawn",
    "drink": "drank drunk", "drive": "drove driven", "eat": "ate eaten", "fall": "fell fallen", "feed": "fed fed",
    "feel": "felt felt", "fight": "fought fought", "find": "found found", "forget": "forgot forgotten",
    "get": "got got", "give": "gave given", "go": "went gone", "grow": "grew grown", "hear": "heard heard",
    "hide": "hid hidden", "hit": "hit hit", "hold": "held held", "keep": "kept kept", "know": "knew known",
    "leave": "left left", "lend": "lent lent", "lose": "lost lost", "make": "made made", "meet": "met met",
    "pay": "paid paid", "read": "read read", "ride": "rode ridden", "run": "ran run", "see": "saw seen",
    "sell": "sold sold", "send": "sent sent", "sew": "sewed sewn", "shake": "shook shaken", "show": "showed shown",
    "sing": "sang sung", "sit": "sat sat", "sleep": "slept slept", "speak": "spoke spoken", "spend": "spent spent",
    "stand": "stood stood", "steal": "stole stolen", "sweep": "swept swept", "swim": "swam swum", "take": "took taken",
    "teach": "taught taught", "tear": "tore torn", "tell": "told told", "think": "thought thought",
    "throw": "threw thrown", "understand": "understood understood", "wake": "woke woken", "wear": "wore worn",
    "say": "said said",
    "win": "won won", "write": "wrote written",
}  # fmt: skip
_DOUBLED = frozenset(
    "beg begin chat clap cut dig drop forget get grab hit hug jog nod plan rub run sit skip slip stop swim travel trip"
    " win wrap"
    .split()
)  # fmt: skip


def verb(base: str) -> Verb:
    """All forms, by the rules of spelling or from the table of irregular verbs."""
    sibilant = base.endswith(("s", "sh", "ch", "x", "z", "o"))
    consonant_y = base.endswith("y") and base[-2] not in "aeiou"
    third = base[:-1] + "ies" if consonant_y else base + ("es" if sibilant else "s")
    doubled = base + base[-1] if base in _DOUBLED else base
    gerund = base[:-1] + "ing" if base.endswith("e") and not base.endswith("ee") else doubled + "ing"
    if base in _IRREGULAR:
        past, participle = _IRREGULAR[base].split()
    else:
        past = base[:-1] + "ied" if consonant_y else base + "d" if base.endswith("e") else doubled + "ed"
        participle = past
    return Verb(base, third, past, participle, gerund)


TRANSITIVE = tuple(
    verb(one)
    for one in _words(
        """admire borrow break bring build buy carry check choose clean collect copy count cover describe destroy drop
        examine fetch find fix forget get grab hide hold ignore inspect keep lend lift lose make measure mend miss
        move need notice open order pack paint pay photograph pick polish pull push recognise remember remove rent
        repair replace return save sell send shake share steal take tear test throw touch use want wash wrap"""
    )
)
ON_PEOPLE = tuple(
    verb(one)
    for one in _words(
        """admire answer ask avoid blame call comfort congratulate email encourage follow forgive greet help hire hug
        ignore interview introduce invite join know like love marry meet miss notice pay phone praise recognise
        remember see surprise teach thank trust understand visit warn watch"""
    )
)
INTRANSITIVE = tuple(
    verb(one)
    for one in _words(
        """arrive complain cook cough cry dance disappear dream exercise fall garden hesitate hurry jog jump laugh leave
        listen nod paint practise pray rest run shout sing sleep smile smoke speak stumble succeed swim talk travel
        vanish wait wake walk whisper whistle work worry write"""
    )
)
ON_FOOD = tuple(
    verb(one) for one in _words("bake boil buy cook cut eat fry heat like love need order prepare serve taste")
)
ON_ANIMALS = tuple(
    verb(one) for one in _words("brush buy catch chase feed find follow hear keep lose photograph see wash watch")
)
SAYING = tuple(
    verb(one) for one in _words("admit announce believe claim explain hear hope insist know promise say think")
)
STARTING = tuple(verb(one) for one in _words("begin enjoy finish hate like love start stop"))
WANTING = tuple(verb(one) for one in _words("agree decide hope learn need plan promise refuse try want"))
