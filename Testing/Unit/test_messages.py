"""Messages: every sentence has a code and is well formed, and docs/messages.csv is what the code says."""

from __future__ import annotations

import ast
from collections import defaultdict

import pytest

from ReShapeITLib.core import errors
from ReShapeITLib.job.report import NO_SEGMENT
from Testing.catalogue import LIBRARY, TABLE, Sentence, sentences, table

# Programs act on these, so one code stands for several sentences.
ACTED_ON = {errors.DISK_FULL, errors.MISSING_PACKAGE, errors.OUT_OF_MEMORY, NO_SEGMENT}


@pytest.fixture(scope="module")
def found() -> list[Sentence]:
    return list(sentences())


def test_every_error_and_notice_has_a_sentence_and_a_code_that_stand_in_the_code(found):
    assert len(found) > 250
    assert [one.where for one in found if not one.code or not one.messages] == []


def test_a_code_stands_for_one_sentence(found):
    said = defaultdict(set)
    for one in found:
        said[one.code].add((one.messages, one.hints))
    assert {code: what for code, what in said.items() if len(what) > 1 and code not in ACTED_ON} == {}


def test_errors_say_what_to_do_and_leave_the_full_stop_to_the_class(found):
    told = [one for one in found if one.kind != "Notice"]
    assert [one.where for one in told if not one.hints or not all(one.hints)] == []
    assert [one.where for one in told if any(text.endswith(".") for text in (*one.messages, *one.hints))] == []


def test_a_sentence_asks_only_for_fields_that_its_call_gives(found):
    assert {one.where: one.unknown_fields() for one in found if one.unknown_fields()} == {}
    braced = [one for one in found if not one.fields and any("{" in text for text in (*one.messages, *one.hints))]
    assert [one.where for one in braced] == []


def test_errors_are_raised_only_where_the_catalogue_sees_them():
    for path in sorted(LIBRARY.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert node.func.attr not in ("BadInputError", "ImplausibleError", "ReShapeITError"), path


def test_the_catalogue_is_that_of_the_code():
    assert TABLE.read_text(encoding="utf-8") == table(sentences()), "run: python -m Testing.catalogue"
