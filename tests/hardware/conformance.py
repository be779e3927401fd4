"""Runs the contract of `hardware.conformance` as tests. Subclass it for a driver:

    class TestMyArm(DriverConformance):
        rig_name = "my_arm"  # a key of hardware.conformance.RIGS, or override make_rig
        not_applicable = frozenset({"link_kill"})  # what its emulator cannot show
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hardware.conformance import ALL_CHECKS, NotApplicable, Rig, make_rig


class DriverConformance:
    """All checks on one driver and its emulator; each gets a fresh emulator.

    Attributes:
        rig_name: of the rig.
        not_applicable: checks that the emulator cannot show; exactly these, so that none goes missing unseen.
    """

    rig_name: str
    not_applicable: frozenset[str] = frozenset()

    def make_rig(self) -> Rig:
        return make_rig(self.rig_name)

    @pytest.fixture
    def rig(self) -> Iterator[Rig]:
        with self.make_rig() as rig:
            yield rig

    @pytest.mark.parametrize("check", ALL_CHECKS)
    def test_contract(self, rig: Rig, check: str) -> None:
        if check in self.not_applicable:
            with pytest.raises(NotApplicable):
                ALL_CHECKS[check](rig)
        else:
            ALL_CHECKS[check](rig)
