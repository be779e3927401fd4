"""Environments that can be pickled: as arguments, state and random generator, not as what MuJoCo and GL hold."""

from __future__ import annotations

from typing import Any, Self


class Pickled:
    """Mixin for an environment with `get_state` and `set_state`; `copy.deepcopy` uses it too."""

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Remember the arguments."""
        env = super().__new__(cls)
        env._arguments = (args, kwargs)
        return env

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to make the same environment in the same state."""
        env: Any = self
        return _made_anew, (
            type(self),
            *self._arguments,
            env.get_state(),
            (env._np_random, env._np_random_seed),
            env.spec,
        )


def _made_anew(
    cls: type[Any], args: tuple[Any, ...], kwargs: dict[str, Any], state: Any, random: tuple[Any, Any], spec: Any
) -> Any:
    env = cls(*args, **kwargs)
    env.set_state(state)
    env._np_random, env._np_random_seed = random
    env.spec = spec
    return env
