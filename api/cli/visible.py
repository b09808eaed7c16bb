"""Text of others as a person must see it in a terminal or a form, before they answer."""

from __future__ import annotations

# What Python calls printable and is drawn as nothing: joiners, fillers, selectors of variants, the empty braille cell.
_DRAWN_AS_NOTHING = frozenset(
    map(chr, (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810)))
) | frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))


def visible(text: str, kept: str = "\n\t") -> str:
    r"""Return the text with what would be unseen, or would hide or reorder other text, written as \u{…}.

    kept: what stays beside printable characters; "" where the text is one line
    """
    return "".join(one if one in kept or _is_seen(one) else f"\\u{{{ord(one):x}}}" for one in text)


def _is_seen(character: str) -> bool:
    return character.isprintable() and character not in _DRAWN_AS_NOTHING
