"""What a mutant changes: the code after a comment `// guard: NAME`, an item or several of them.

An item is a statement, a match arm, a call in a chain (it begins with a dot), a function, or the expression that ends a
block. Items are found by their brackets, so a guard survives whatever is renamed or moved around it.
"""

import re

OPENING, CLOSING = "([{", ")]}"

# What brackets and separators mean nothing in: comments, strings, and characters (a lifetime is none).
LITERAL = re.compile(
    r"""//[^\n]* | /\*.*?\*/ | (?<!\w)b?r(\#*)".*?"\1 | "(?:\\.|[^"\\])*" | '(?:\\(?:u\{\w+\}|x\w\w|.)|[^'\\])'""",
    re.DOTALL | re.VERBOSE,
)
# What may stand before an item and belongs to it.
BEFORE = re.compile(r"(?:\s+|//[^\n]*\n|#\[[^\n]*\]\n)*")
FUNCTION = re.compile(r"(?:pub(?:\([^)]*\))? |const |async |unsafe )*fn\b")
LET = re.compile(r"let\b")
# An item that is over with its block, unless the block is what follows is called on.
BLOCK = re.compile(r"\{|(?:if|match|for|while|loop|unsafe)\b|'\w+:|[\w:]+!\s*\{")
GOES_ON_AFTER_BLOCK = re.compile(r"\s*(?:[;,?]|\.(?!\.)|else\b)")
# A block within an expression or a pattern.
GOES_ON = re.compile(r"(?:\s|//[^\n]*\n)*(?:[.?;,=|&)<>+*-]|/(?!/)|(?:else|if)\b)")


def guarded(text, name):
    """Where the code that the guard marks begins."""
    marker = re.compile(rf"^[ \t]*// guard: {re.escape(name)}\n(?:[ \t]*//[^\n]*\n)*[ \t]*", re.MULTILINE)
    found = list(marker.finditer(text))
    if len(found) != 1:
        raise ValueError(f"there are {len(found)} comments `// guard: {name}`")
    return found[0].end()


def code(text, start):
    """The characters from `start` on that are in no comment and no literal: where, which, and in how many brackets."""
    depth, at = 0, start
    while at < len(text):
        if literal := LITERAL.match(text, at):
            at = literal.end()
            continue
        depth -= text[at] in CLOSING
        yield at, text[at], depth
        depth += text[at] in OPENING
        at += 1
    raise ValueError("the file ends within an item")


def item_end(text, start):
    """The end of the item that begins at `start`."""
    if text[start] == ".":
        return call_end(text, start)
    # Of a match arm, what counts is the expression behind the arrow.
    expression = BEFORE.match(text, start).end()
    for at, character, depth in code(text, start):
        if depth < 0:
            return len(text[:at].rstrip())
        if depth > 0:
            continue
        if text.startswith("=>", at):
            expression = BEFORE.match(text, at + 2).end()
        is_function, is_let = FUNCTION.match(text, expression), LET.match(text, expression)
        if character == ";" or character == "," and not (is_function or is_let):
            return at + 1
        if character == "}" and not is_let:
            goes_on = GOES_ON_AFTER_BLOCK if BLOCK.match(text, expression) else GOES_ON
            if is_function or not goes_on.match(text, at + 1):
                return at + 1


def call_end(text, start):
    """The end of a method call with its arguments, and of the `?` after it."""
    for at, character, depth in code(text, start):
        if character == ")" and depth == 0:
            return at + 1 + text.startswith("?", at + 1)


def items(count, template):
    """The next `count` items become `template`, in which `{1}`, `{2}` stand for them."""

    def edit(text, start):
        found, at = [], start
        for _ in range(count):
            end = item_end(text, at)
            found.append(text[at:end])
            at = end + len(text[end:]) - len(text[end:].lstrip())
        new = re.sub(r"\{(\d)\}", lambda number: found[int(number[1]) - 1], template)
        return text[:start] + new + text[end:]

    return edit


def drop():
    """The next item goes."""
    return items(1, "")


def instead(new):
    """Something else takes the place of the next item."""

    def edit(text, start):
        return text[:start] + new + text[item_end(text, start) :]

    return edit


def head(new):
    """What `if` or `match` looks at, in the next item, becomes `new`; in a match arm, the condition after its pattern."""
    keyword = re.compile(r"(?<!\w)(?:if|match)\s+")

    def edit(text, start):
        end = item_end(text, start)
        outside = (at for at, _, depth in code(text, start) if at >= end or depth == 0 and keyword.match(text, at))
        if (at := next(outside)) >= end:
            raise ValueError(f"there is no `if` and no `match` in `{text[start:end]}`")
        begin = keyword.match(text, at).end()
        for at, character, depth in code(text, begin):
            if depth == 0 and (character == "{" or text.startswith("=>", at)):
                return text[:begin] + new + " " + text[at:]

    return edit


def body(new):
    """The body of the function that comes next becomes `new`."""

    def edit(text, start):
        end = item_end(text, start)
        begin = next(at for at, character, depth in code(text, start) if depth == 0 and character == "{")
        return text[:begin] + "{" + new + "}" + text[end:]

    return edit


def part(old, new):
    """In the next item `old`, which stands there once, becomes `new`."""

    def edit(text, start):
        end = item_end(text, start)
        if text[start:end].count(old) != 1:
            raise ValueError(f"`{old}` stands {text[start:end].count(old)} times in `{text[start:end]}`")
        return text[:start] + text[start:end].replace(old, new) + text[end:]

    return edit
