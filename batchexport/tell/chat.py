"""Text for chats, each with a markup of its own: words of a cloud must neither link nor call. Pure."""

from __future__ import annotations

import re

#: Between two characters that would mean something together; a reader does not see it.
_APART = "\u200b"
_SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_MARKDOWN = re.compile(r"([\\`*_\[\]()#~|<>])")
_LIST = re.compile(r"(?m)^(\s*)([-+]|\d+[.)])(\s)")
#: Words after @ by which Mattermost and Rocket.Chat call a whole channel.
_CALL = re.compile(r"@(?=(?:all|here|channel|everyone)\b)", re.IGNORECASE)


def for_slack(text: str) -> str:
    """As Slack wants it, with its three characters escaped; Markdown links, which others show, cut in two."""
    return _CALL.sub(f"@{_APART}", text.translate(_SLACK).replace("](", f"]{_APART}("))


def for_teams(text: str) -> str:
    """For a text of an adaptive card, which is Markdown."""
    return _LIST.sub(r"\1\\\2\3", _MARKDOWN.sub(r"\\\1", text))
