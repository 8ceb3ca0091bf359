"""The paper's networks."""

from ca_numpy.models.architectures import BaseGenerator, Completion, Learnt, architecture
from ca_numpy.models.critic import Critic, critic_kind
from ca_numpy.models.generator import Generator
from ca_numpy.models.variants import OFFICIAL, PAPER, AttentionKind, Variant

__all__ = [
    "OFFICIAL",
    "PAPER",
    "AttentionKind",
    "BaseGenerator",
    "Completion",
    "Critic",
    "Generator",
    "Learnt",
    "Variant",
    "architecture",
    "critic_kind",
]
