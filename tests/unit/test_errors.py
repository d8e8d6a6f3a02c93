"""What is told of a server's refusal: the reason, in the words of each server, and no argument."""

from __future__ import annotations

import inspect
import re

import pytest

from redjobs import errors
from redjobs.errors import reason_of

SHA = "a8e045687019c1230c01d4717e0579b12b1a1b50"
ADVICE = " (`redjobs acl` prints the rights that each role needs)"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (
            "Command # 2 (EVALSHA f00 1 canary\n)(canary) of pipeline caused error: OOM command not allowed",
            "OOM command not allowed",
        ),
        ("unknown command 'X', with args beginning with: 'canary' ", "unknown command 'X'"),
        (f"WRONGTYPE wrong kind script: {SHA}, on @user_script:20.", "WRONGTYPE wrong kind"),
        (
            f"Error running script (call to f_{SHA}): @user_script:1: @user_script: 1: -MISCONF full",
            "MISCONF full",
        ),
    ],
)
def test_arguments_and_places_are_left_out(text: str, left: str) -> None:
    assert reason_of(Exception(text)) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("User u has no permissions to run the 'set' command", None),
        ("this user has no permissions to access one of the keys used as arguments", None),
        (
            "ACL failure in script: User u has no permissions to run the 'set' command script: "
            f"{SHA}, on @user_script:1.",
            "ACL failure in script: User u has no permissions to run the 'set' command",
        ),
        (
            "ACL failure in script: No permissions to access a key script: on @user_script:1.",
            "ACL failure in script: No permissions to access a key",
        ),
        (
            f"Error running script (call to f_{SHA}): @user_script:1: @user_script: 1: "
            "The user executing the script can't run this command or subcommand",
            "The user executing the script can't run this command or subcommand",
        ),
    ],
)
def test_who_lacks_a_right_is_told_where_it_is_found(text: str, left: str | None) -> None:
    assert reason_of(Exception(text)) == (left or text) + ADVICE


def test_an_error_without_words_has_a_name() -> None:
    assert reason_of(TimeoutError()) == "TimeoutError"


def test_the_tree_has_every_error() -> None:
    classes = [name for name, value in vars(errors).items() if inspect.isclass(value) and name != "Any"]
    ours = [name for name in classes if issubclass(getattr(errors, name), Exception)]
    assert len(ours) > 15
    missing = [name for name in ours if not re.search(rf"^[│├└─ ]*{name}( |$)", errors.__doc__ or "", re.M)]
    assert not missing
