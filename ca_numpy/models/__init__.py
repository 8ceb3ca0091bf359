"""The paper's networks, and nothing else."""

from ca_numpy.models.critic import Critic
from ca_numpy.models.generator import Generator
from ca_numpy.models.variants import OFFICIAL, PAPER, AttentionKind, Variant

__all__ = ["OFFICIAL", "PAPER", "AttentionKind", "Critic", "Generator", "Variant"]
