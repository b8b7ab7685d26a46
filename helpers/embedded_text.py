"""The words of the built-in corpus: what people ask about and how replies are put.

Plain data, written for this project and mild throughout. `embedded.py` composes
dialogues from it; `embedded_reward.py` reads the attributes of a reply back with the
same lists. `{thing}` is what a request is about, `{few}` and `{many}` are numbers.
"""

from typing import NamedTuple

FEW = (2, 3, 4, 5, 6)
MANY = (10, 15, 20, 30, 40)


class Domain(NamedTuple):
    """Things of one kind, what one does with them, and steps that fit all of them."""

    things: tuple[str, ...]
    tasks: tuple[str, ...]
    steps: tuple[str, ...]


def _lines(block: str) -> tuple[str, ...]:
    """One phrase per line."""
    return tuple(line.strip() for line in block.strip().splitlines())


def _items(block: str) -> tuple[str, ...]:
    """Phrases between commas."""
    return tuple(" ".join(item.split()) for item in block.split(","))


KITCHEN = Domain(
    _items("bread, pancakes, soup, rice, cookies, salad"),
    _items("make, prepare, improve, store"),
    _lines("""
        mix {few} cups of flour and water
        let it rest for {many} minutes
        add {few} spoons of sugar
        heat the oven for {many} minutes
        use {few} eggs and some butter
        stir it {few} times with a spoon
    """),
)
GARDEN = Domain(
    _items("tomatoes, roses, basil, carrots, tulips, beans"),
    _items("grow, water, protect, plant"),
    _lines("""
        pour {few} liters on the roots
        dig {many} inches into the soil
        leave {many} inches between rows
        give them {few} hours of sun
        spread {few} scoops of compost
        cut dry leaves every {few} weeks
    """),
)
# the harmless subset: whether a wish is wanted or not hangs on one phrase of it.
PAPERS = Domain(
    _items("mail, diary, homework, album"),
    _items("read, open, copy, sort"),
    _lines("""
        sort the pages into {few} piles
        keep {few} notes about where it was
        read {few} lines at a time
        put every sheet back within {many} minutes
        fold the paper {few} times
        mark {many} pages with a pencil
    """),
)
DEVICES = Domain(
    _items("phone, laptop, tablet, camera"),
    _items("use, unlock, borrow, search"),
    _lines("""
        charge the battery for {many} minutes
        turn the screen off after {few} minutes
        type the code {few} times
        look through the last {many} pictures
        hold the button for {few} seconds
        close the other {few} windows
    """),
)
DOMAINS = {"helpful": (KITCHEN, GARDEN), "harmless": (PAPERS, DEVICES)}

ASKS = _lines("""
    How do I
    How can I
    What is a good way to
    What is the easiest way to
    Can you tell me how to
    Could you explain how to
    Any tips on how to
    Do you know how to
""")
CONTEXTS = _lines("""
    I am new to this.
    I tried and failed.
    My family keeps asking.
    I saw a video.
    It was a long week.
    I just moved here.
    I need a hand.
""")
CONSTRAINTS = _items("""
    on a small budget, before the weekend, with my kids, in a small flat, this week,
    for the first time, in little time, for an old friend, at my school, this evening,
    in cold weather, for a big family, all by myself, next month, like an expert
""")
FOLLOW_UPS = _lines("""
    Thanks. What should I do next?
    Okay. Is there anything else?
    I see. Can you say more about {thing}?
    Hmm. What else matters with {thing}?
    Right. How would you go on?
    And if I am still stuck with {thing}?
    Please just tell me how.
    Good. Could you add some detail?
""")
QUESTIONS_BACK = _lines("""
    Could you tell me more?
    What have you tried so far?
    What do you have in mind?
    Can you say why you ask?
""")

OWNERS = _items("""
    roommate's, neighbor's, sister's, brother's, coworker's, classmate's, teacher's,
    cousin's, uncle's, friend's
""")
UNWANTED = _items("without asking, in secret, behind their back, before they notice")
WANTED = _items("""
    with their permission, as they asked me to, together with them, since they said yes
""")
OWN = _items("more quickly, on a busy day, without any stress, more often")

# Replies. Each list is one attribute; a sentence of it is read back as such.
LEADS = _lines("""
    Here is a plan for {thing}.
    For {thing}, start small.
    With {thing}, be patient.
    Let me explain {thing}.
""")
LEADS_UNNAMED = _lines("""
    Here is a plan.
    Start small.
""")
STARTERS = _items("First, Then, Next, Also, After that")
VAGUE = _lines("""
    do what feels right
    see what happens
    use whatever you have
    just keep going
""")
POLITE = _lines("""
    Happy to help!
    Thanks for asking!
    That is a great question.
    I am glad you asked.
""")
CURT = _lines("""
    Figure it out yourself.
    That is a silly question.
    You should know this.
    Do not waste my time.
""")
FILLER = _lines("""
    There are many ways to look at this.
    As we all know, life goes on.
    People talk about this for years.
    In this world nothing is certain.
""")
REFUSALS = _lines("""
    I can't help with {thing}.
    I won't help with {thing}.
    I would rather not help with {thing}.
    I am not able to help with {thing}.
""")
REFUSALS_UNNAMED = _lines("""
    I can't help with that.
    I won't help with that.
""")
REASONS = _lines("""
    It could break someone's trust.
    It would not be fair.
    Somebody might get upset.
""")
ALTERNATIVES = _lines("""
    Instead, you could ask openly first.
    Instead, talk it over with tea.
    A better idea is to get your own.
""")
