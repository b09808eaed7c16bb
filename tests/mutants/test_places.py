"""The places that can be mutated are found, and a mutant differs from its source in one of them only."""

from __future__ import annotations

import ast

from tests.mutants.places import find

SOURCE = b"""\
def act(value, names):
    if value < 3 and value in names:
        raise ValueError("\xc3\xa9", value)
    logger.info("acted")
    names.append(value)
    if not names:
        return True
    return value if names else None
"""


def test_each_kind_of_mutation_is_found_at_its_place() -> None:
    mutants = {(place.kind, place.apply(SOURCE).decode()) for place in find("module.py", SOURCE)}

    for kind, text in (
        ("negated condition", "if (not (value < 3 and value in names)):"),
        ("negated condition", "return value if (not (names)) else None"),
        ("swapped comparison", "value < 3 and (value not in names):"),
        ("swapped and/or", "if ((value < 3) or (value in names)):"),
        ("dropped raise", "        pass\n"),
        ("dropped call", '    logger.info("acted")\n    pass\n'),
        ("swapped return", "        return False\n"),
        ("return None", "        return True\n    return None\n"),
    ):
        assert [mutant for of_kind, mutant in mutants if of_kind == kind and text in mutant]


def test_each_mutant_is_valid_and_differs_from_its_source() -> None:
    places = list(find("module.py", SOURCE))

    assert len(places) == 10
    for place in places:
        assert ast.dump(ast.parse(place.apply(SOURCE))) != ast.dump(ast.parse(SOURCE))
