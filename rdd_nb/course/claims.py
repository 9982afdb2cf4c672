"""What a notebook finds: an assertion where it was measured, a sentence on anybody else's data."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.display import DisplayObject

__all__ = ["Claims"]


class Claims:
    """A notebook's findings, checked where its text was written and told anywhere else.

    ``claim(holds, says)`` fails if a finding does not hold in the committed setting: the text beside it would be wrong
    then. With other data or parameters that is nobody's error, so a sentence says whether it holds; at
    ``profile=smoke``, from whose numbers nothing follows, nothing is said, and :meth:`tell` reads none. What holds for
    any data, such as that shares sum to 1, is no finding: notebooks assert it.

    Args:
        committed: whether data, scenario, profile and parameters are those that the notebook is committed with.
        profile: smoke, quick or full.

    >>> claim = Claims(committed=False, profile="quick")
    The text below was written for the default parameters. With others, trust the numbers and check the text.
    >>> claim(2 > 1, "robust distillation helps the minority")
    On your data this holds, too: robust distillation helps the minority.
    >>> claim(1 > 2, "the majority pays for it")
    On your data this did not hold: the majority pays for it.
    >>> Claims(committed=True, profile="quick")(1 > 2, "one is more than two")
    Traceback (most recent call last):
    ...
    AssertionError: one is more than two
    """

    def __init__(self, committed: bool, profile: str) -> None:
        self.committed, self.profile = committed, profile
        if profile == "smoke":
            print("The findings in the text are those of profile=quick; profile=smoke checks none of them.")
        elif not committed:
            print(
                "The text below was written for the default parameters. With others, trust the numbers and check the "
                "text."
            )

    def tell(self, paragraph: DisplayObject, any_profile: bool = False) -> None:
        """Show a paragraph that reads numbers; at smoke, where they mean nothing, a word that it is not shown.

        Args:
            paragraph: such as ``Markdown("…")``.
            any_profile: whether its numbers are the same in every profile, as those of a table that ships: then it is
                shown at smoke as well.
        """
        from IPython.display import Markdown, display  # the rest of the course needs no notebook

        unread = Markdown("*(profile=smoke: numbers that mean nothing are not read.)*")
        display(unread if self.profile == "smoke" and not any_profile else paragraph)

    def __call__(self, holds: object, says: str, committed: bool | None = None) -> None:
        """State a finding.

        Args:
            holds: whether it does.
            says: the finding, as a sentence without its full stop.
            committed: for a finding that depends on less, or on more, than the others.

        Raises:
            AssertionError: it does not hold in the committed setting.
        """
        if self.committed if committed is None else committed:
            if not holds:
                raise AssertionError(says)
        elif self.profile != "smoke":
            print(f"On your data this {'holds, too' if holds else 'did not hold'}: {says}.")
