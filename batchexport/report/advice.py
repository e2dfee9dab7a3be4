"""What to do about a failure, by what the cloud said. Pure: tables, and the order in which they are asked."""

from __future__ import annotations

from batchexport.model import JobState

_AGAIN = "run batchexport retry"
_RETRY = f"then {_AGAIN}"
#: By our own codes, and the cloud's where one says more than its status.
_BY_CODE = {
    "in_use": f"Have its servers stopped for it ({_AGAIN} --in-use stop) or detach the volume, {_RETRY};"
    " --in-use skip leaves such volumes out.",
    "server_status": f"Bring the server to active or shutoff, {_RETRY}.",
    "server_not_stopped": f"Stop the server yourself, or allow more time (--stop-timeout), {_RETRY}.",
    "server_started": f"Keep the server down until its volumes are exported: {_AGAIN}.",
    "server_refused": f"The account may not stop this server: have the right granted, {_RETRY}.",
    "force_ignored": f"This cloud exports no volume that is in use: stop the server, detach it, {_RETRY}.",
    "volume_not_found": "This project and region has no such volume: mend the row or take it off the list.",
    "image_gone": f"The cloud gave the copy up: {_AGAIN}; if it stays, give its support the request ids.",
    "image_dead": f"The cloud gave the copy up: {_AGAIN}; if it stays, give its support the request ids.",
    "image_orphaned": "The image was left unfinished: batchexport cleanup removes it; " + _RETRY + ".",
    "export_stuck": "An administrator frees the volume (openstack volume set --state available ID), "
    + _RETRY
    + ": it looks first at what became of the image.",
    "image_unreadable": f"Look at the image yourself, or have the right to read it granted, {_RETRY}.",
    "given_up": f"Given up on purpose. When what held it up is gone, {_AGAIN}.",
    "not_sent": f"The request was lost on its way, with no effect: {_AGAIN}.",
    "EVS.5413": f"The image quota is used up: delete images or have it raised, {_RETRY}.",
    "IMG.0015": f"The image quota is used up: delete images or have it raised, {_RETRY}.",
}
_BY_STATUS = {
    400: f"The cloud refuses the request as it stands: mend the volume or the row, {_RETRY}.",
    401: f"The credentials were not accepted: renew them, {_RETRY}.",
    403: f"The account may not do this: have the right granted, {_RETRY}.",
    404: _BY_CODE["volume_not_found"],
    409: f"Something else is under way on the volume: wait for its end, {_RETRY}.",
    413: f"A limit of the project is reached: make room or have it raised, {_RETRY}.",
    429: f"The cloud asks for fewer requests: lower --requests-per-second, {_RETRY}.",
}
_BY_STATE = {
    JobState.AMBIGUOUS: "Look whose images these are. Delete those too many in the cloud, or say so with "
    "--ours and --not-ours, then run batchexport reconcile.",
    JobState.SUCCEEDED: "There is an image, but it may be no good: batchexport verify looks at it once more. "
    "To export such volumes again, delete these images and run a list of their own with --again.",
    JobState.SKIPPED: "Left out on purpose. When the cause is gone, run batchexport retry --skipped.",
}
_SERVER_FAULT = f"The cloud itself failed: give its operators the request ids, {_RETRY}."
_ANYTHING = f"Mend what the cloud names, {_RETRY}."


def advice_on(state: JobState, *, code: str | None, status: int | None, words: str) -> str:
    """One or two sentences for whoever has to mend a row that ended in this state."""
    if state in _BY_STATE:
        return _BY_STATE[state]
    if code in _BY_CODE:
        return _BY_CODE[code]
    if "quota" in words.lower():
        return _BY_CODE["EVS.5413"]
    if status is not None and status >= 500:
        return _SERVER_FAULT
    return _BY_STATUS.get(status or 0, _ANYTHING)
