"""Where a sequence of random numbers stands, as a frozen value that one stage hands to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class RandomStream:
    """A place in one seed's sequence; a stage makes a generator of its own there.

    Args:
        state: of the bit generator.
    """

    state: dict

    @classmethod
    def seeded(cls, seed: int) -> RandomStream:
        """The begin of a seed's sequence."""
        return cls.after(np.random.default_rng(seed))

    @classmethod
    def after(cls, rng: np.random.Generator) -> RandomStream:
        """Where a generator stands now; what it draws later changes nothing here."""
        return cls(rng.bit_generator.state)

    def generator(self) -> np.random.Generator:
        """A new generator that goes on from here."""
        bits = np.random.PCG64()
        bits.state = self.state
        return np.random.Generator(bits)
