"""Errors that the command line turns into one clear line."""

from __future__ import annotations


class RequestError(ValueError):
    """The request is wrong: nothing was started and nothing was changed.

    The message names the subject, the value, the allowed range and what to do. Exit status 2.
    """
