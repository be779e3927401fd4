"""Runs the contract of `hardware.conformance` as tests. Subclass it for a driver:

    class TestMyArm(DriverConformance):
        rig_name = "my_arm"  # a key of hardware.conformance.RIGS, or override make_rig
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hardware.conformance import ALL_CHECKS, NotApplicable, Rig, make_rig


class DriverConformance:
    """All checks on one driver and its emulator; each gets a fresh emulator."""

    rig_name: str

    def make_rig(self) -> Rig:
        return make_rig(self.rig_name)

    @pytest.fixture
    def rig(self) -> Iterator[Rig]:
        with self.make_rig() as rig:
            yield rig

    @pytest.mark.parametrize("check", ALL_CHECKS)
    def test_contract(self, rig: Rig, check: str) -> None:
        try:
            ALL_CHECKS[check](rig)
        except NotApplicable as reason:
            pytest.skip(str(reason))
