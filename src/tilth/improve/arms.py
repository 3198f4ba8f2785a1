"""The arms of the loop as a table: what each is labelled by, at which difficulties, and for how many steps.

A new arm is a row here. The first key of its stream of chance is written out, so that another arm does not change the
results of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Arm = Literal[
    "baseline",
    "control",
    "flop_matched",
    "unfiltered",
    "gated_unfiltered",
    "noise",
    "vote",
    "verified",
    "controlled",
    "self_play",
    "oracle",
]
ARMS: tuple[Arm, ...] = get_args(Arm)
"""All arms, in the order in which they are shown."""
LabelWith = Literal["vote", "sample_vote", "best_of_n", "samples", "bits", "beam", "tree"]
"""How a treated arm comes to labels. vote: by majority over augmentations of a problem; sample_vote: by majority over
samples; best_of_n: the likeliest sample; these need no checker. samples, beam, tree: what the family's checker, which
knows the rules and not the answers, accepts of samples, of a beam and of a tree search; bits: of the accepted samples,
those that tell the model most."""
CHECKED: tuple[LabelWith, ...] = ("samples", "bits", "beam", "tree")
"""Those that ask the family's checker: the treated arm is then `verified`, and not `vote`."""


@dataclass(frozen=True, kw_only=True)
class ArmPlan:
    """What an arm does after the base model."""

    meaning: str
    """In one sentence."""
    key: int
    """First key of its stream of chance."""
    role: Literal["treatment", "control", "upper_bound"] = "control"
    labels: Literal["none", "everything", "accepted", "corrupted", "oracle"] = "none"
    """Which of the model's answers become pseudo-labels; accepted: those of `LoopConfig.label_with`."""
    problems: Literal["none", "one_harder", "gated", "followed", "controller", "self_play"] = "none"
    """Which problems it answers; followed: of the difficulty, and as many labels, as the leading arm had."""
    steps: Literal["none", "round", "followed_flops"] = "round"
    """Training steps of a round; followed_flops: as many as cost what the leading arm spent in the round."""
    newest_share: bool = True
    """Whether the newest difficulty has an extra share of a batch."""
    monitored: bool = False
    """Whether the collapse monitor may throw a round away; a control is only read, since its decline is the result."""

    @property
    def follows(self) -> bool:
        """Whether it reads what the leading arm did in the same round, and so runs after it."""
        return self.problems == "followed" or self.steps == "followed_flops"


PLANS: Mapping[Arm, ArmPlan] = {
    "baseline": ArmPlan(meaning="The base model: nothing is trained.", key=2, steps="none"),
    "control": ArmPlan(
        meaning="As many steps as the other arms, on base data alone.", key=3, newest_share=False
    ),
    "flop_matched": ArmPlan(
        meaning="Base data, for as many FLOPs as the leading arm spends on training and generation.",
        key=7,
        steps="followed_flops",
        newest_share=False,
    ),
    "unfiltered": ArmPlan(
        meaning="Every answer of its own, one difficulty more in each round.",
        key=4,
        labels="everything",
        problems="one_harder",
    ),
    "gated_unfiltered": ArmPlan(
        meaning="Every answer of its own, at the difficulties and with the number of labels of the leading arm: the "
        "two differ by the filter alone.",
        key=8,
        labels="everything",
        problems="followed",
    ),
    "noise": ArmPlan(
        meaning="Labels as in the leading arm, a stated share of them exchanged for answers to other problems.",
        key=9,
        labels="corrupted",
        problems="gated",
    ),
    "vote": ArmPlan(
        meaning="Labels by vote or by the model's own probabilities, without right answers and without a checker.",
        key=5,
        role="treatment",
        labels="accepted",
        problems="gated",
        monitored=True,
    ),
    "verified": ArmPlan(
        meaning="Labels by sampling or search with the family's checker.",
        key=10,
        role="treatment",
        labels="accepted",
        problems="gated",
        monitored=True,
    ),
    "controlled": ArmPlan(
        meaning="Labels as in the leading arm; each round a controller chooses what to spend on.",
        key=11,
        role="treatment",
        labels="accepted",
        problems="controller",
        monitored=True,
    ),
    "self_play": ArmPlan(
        meaning="Labels as in the leading arm, to problems of a proposer that learns what is solved sometimes.",
        key=12,
        role="treatment",
        labels="accepted",
        problems="self_play",
        monitored=True,
    ),
    "oracle": ArmPlan(
        meaning="Right answers of its own, told by a verifier that knows them: an upper bound.",
        key=6,
        role="upper_bound",
        labels="oracle",
        problems="gated",
        monitored=True,
    ),
}  # fmt: skip
DEFAULT_ARMS: tuple[Arm, ...] = (
    "baseline",
    "control",
    "flop_matched",
    "unfiltered",
    "gated_unfiltered",
    "noise",
    "vote",
    "oracle",
)
"""A treatment, its controls at equal steps and at equal FLOPs, and its upper bound."""
LONGEST_FIRST: tuple[Arm, ...] = (
    "self_play",
    "controlled",
    "verified",
    "vote",
    "noise",
    "oracle",
    "unfiltered",
    "control",
    "baseline",
    "flop_matched",
    "gated_unfiltered",
)
"""The order in which arms are started, so that side by side they end at about the same time."""
