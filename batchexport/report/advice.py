"""What the codes of rows mean, and what to do about a failure. Pure: tables, and the order of the lookups."""

from __future__ import annotations

from collections.abc import Mapping

from batchexport.model import JobState

#: Our own codes in the column `code` of a report, in `plan` and in `verify`. Any other code is the cloud's.
CODES: Mapping[str, str] = {
    # The volume cannot be exported as it is.
    "volume_not_found": "The project and region have no such volume.",
    "volume_status": "The volume is in `error`, `deleting` or another status that does not pass by itself.",
    "volume_busy": "The volume is in a status that passes; it is tried again.",
    "volume_uploading": "The volume stayed `uploading`, and no image of this run exists.",
    "uploading": "The volume is being exported right now, by this run or by somebody else.",
    "in_use": "The volume is attached to a server (see `--in-use`).",
    "force_ignored": "The cloud refuses volumes in use even with `force`.",
    "copy_failed": "The copy of a volume in use did not become available (`--in-use snapshot`).",
    "copy_deleted": "Somebody deleted the copy of a volume in use before it was exported.",
    "too_large": "The volume is larger than the cloud exports, or than image services usually accept.",
    "encrypted": "Cinder exports an encrypted volume only as `raw` in `bare`.",
    "reserved_metadata": "The volume has `os_glance…` image metadata, which some clouds refuse.",
    # The request cannot be sent as the row asks.
    "disk_format": "The cloud does not have this disk format.",
    "image_name": "The cloud does not accept this image name; or the image has another name than asked for.",
    "image_name_taken": "The project already has an image of this name. Most clouds accept that.",
    "undeliverable": "The image can be made, but not be delivered to a destination of its row.",
    "option_dropped": "The cloud does not support an option of the row; the export goes ahead without it.",
    "hook_failed": "The command that runs before the row (`before_row`) failed, so nothing was sent.",
    # Left out on purpose.
    "exported_elsewhere": "Another state file in the same folder shows the volume as exported.",
    "not_listed": "The row is no longer in the list, and nothing was sent for it.",
    "given_up": "Ended by `give-up`.",
    # What became of the request and of its image.
    "not_sent": "The request was lost before the cloud acted on it.",
    "ambiguous": "Several images could be the result, or the only one may belong to somebody else.",
    "removed": "All images that could be the result were removed.",
    "image_gone": "The cloud removed the image.",
    "image_dead": "The cloud aborted the image (`killed`, `deleted`).",
    "image_orphaned": "The image stayed unfinished although the volume is free.",
    "image_unreadable": "Past its deadline the image cannot be read, and the volume is free.",
    "export_stuck": "Past its deadline, and nothing moves any more; the volume may be `uploading` for good.",
    "deactivated": "The image is complete, but was deactivated.",
    # The image is there, but not as asked for.
    "image_status": "The image is not active.",
    "image_format": "The image has another disk or container format than was asked for.",
    "labels_not_set": "The image is complete, but has not the properties or tags that were asked for.",
    "image_short": "The image has no bytes, or fewer than its volume.",
    "image_size": "A raw image has more bytes than its volume.",
    "image_min_disk": "The image's `min_disk` is smaller than its volume.",
    "image_hash": "The image's hash differs from the one recorded when it became active.",
    "image_shared": "Two rows name the same image.",
    # Servers stopped for exports.
    "server_ran": "The server ran while its volume was copied: the data may be inconsistent.",
    "server_unseen": "The server could not be observed for ten minutes while its volume was copied.",
    "server_status": "The server is in a status in which it cannot be stopped.",
    "server_not_found": "The compute service has no such server.",
    "server_not_stopped": "The server did not stop within `--stop-timeout`.",
    "server_started": "Somebody started the server before its volumes were exported.",
    "server_refused": "The cloud refuses to stop the server.",
    "server_down_elsewhere": "Another state file stopped the server, and no run is working on that file.",
    # Temporary copies of volumes in use.
    "copy_refused": "The cloud makes no snapshot or clone of the volume, which is in use.",
    "quiesce_failed": "The command `before` failed: no snapshot was made.",
}

#: Who can act. The operator is whoever runs batchexport.
OPERATOR = "operator"
CLOUD_ADMINISTRATOR = "cloud administrator"
PROJECT_ADMINISTRATOR = "project administrator"
SERVER_OWNER = "server owner"
_WHO_BY_CODE = {
    "volume_status": CLOUD_ADMINISTRATOR,
    "volume_uploading": CLOUD_ADMINISTRATOR,
    "export_stuck": CLOUD_ADMINISTRATOR,
    "image_unreadable": PROJECT_ADMINISTRATOR,
    "server_refused": PROJECT_ADMINISTRATOR,
    "server_status": SERVER_OWNER,
    "server_not_found": SERVER_OWNER,
    "server_not_stopped": SERVER_OWNER,
    "server_started": SERVER_OWNER,
    "EVS.5413": PROJECT_ADMINISTRATOR,
    "IMG.0015": PROJECT_ADMINISTRATOR,
}
_WHO_BY_STATUS = {403: PROJECT_ADMINISTRATOR, 413: PROJECT_ADMINISTRATOR}
#: Codes of rows whose volume only an administrator can bring back to `available`.
STUCK_CODES = frozenset({"export_stuck", "volume_uploading"})

_AGAIN = "run batchexport retry"
_RETRY = f"then {_AGAIN}"
_ABORTED = f"The cloud aborted the copy: {_AGAIN}. If it keeps failing, give its support the request ids."
_DOUBTFUL = (
    "The image may be unusable: check it again with batchexport verify. To export such volumes again, delete"
    " these images and run a list of their own with --again."
)
#: By our own codes, and by the cloud's where one says more than its status.
_BY_CODE = {
    "in_use": f"Let the run stop its servers ({_AGAIN} --in-use stop) or detach the volume, {_RETRY};"
    " --in-use skip leaves such volumes out.",
    "hook_failed": f"Fix the command that the job file names, {_RETRY}.",
    "uploading": f"Wait until that export has ended, {_RETRY}.",
    "volume_busy": f"Wait until the status has passed, {_RETRY}.",
    "volume_status": f"Bring the volume back to available, {_RETRY}.",
    "volume_uploading": "Wait for the other export, or have an administrator free the volume"
    f" (openstack volume set --state available ID), {_RETRY}.",
    "too_large": "Copy the volume by other means, or have the limit of the image service raised.",
    "encrypted": f"Set disk_format raw and container_format bare, {_RETRY}.",
    "reserved_metadata": "Remove the property: openstack volume unset --image-property KEY ID.",
    "disk_format": "Choose a format that the cloud has.",
    "image_name": "Choose a name that the cloud accepts.",
    "image_name_taken": "Nothing, unless image names have to be unique for you.",
    "undeliverable": "Choose another destination for the row (column deliver), or none.",
    "option_dropped": "Remove the option from the row, or accept that it has no effect.",
    "removed": f"The images were deleted: {_AGAIN}.",
    "server_status": f"Bring the server to active or shutoff, {_RETRY}.",
    "server_not_found": f"Detach the volume from the server that is gone, {_RETRY}.",
    "server_not_stopped": f"Stop the server yourself, or allow more time (--stop-timeout), {_RETRY}.",
    "server_started": f"Keep the server down until its volumes are exported: {_AGAIN}.",
    "server_refused": f"The account may not stop this server: have the permission granted, {_RETRY}.",
    "copy_refused": f"See the cloud's words; --in-use stop stops the server instead, {_RETRY}.",
    "quiesce_failed": f"Fix the command of [snapshot] before, {_RETRY}.",
    "server_down_elsewhere": f"Start it with the command in the reason, {_RETRY}.",
    "force_ignored": f"This cloud exports no volume in use: stop the server, detach the volume, {_RETRY}.",
    "copy_failed": f"Look at the cloud's words in the reason: quota, back end, or time; {_RETRY}.",
    "copy_deleted": f"Find out who deletes volumes of others, {_RETRY}.",
    "volume_not_found": "This project and region has no such volume: fix the row or remove it from the list.",
    "image_gone": _ABORTED,
    "image_dead": _ABORTED,
    "image_orphaned": "The image was left unfinished: batchexport cleanup removes it; " + _RETRY + ".",
    "export_stuck": "An administrator frees the volume (openstack volume set --state available ID), "
    + _RETRY
    + ", which first checks what became of the image.",
    "image_unreadable": f"Check the image yourself, or have the permission to read it granted, {_RETRY}.",
    "given_up": f"Given up on purpose. Once the obstacle is gone, {_AGAIN}.",
    "not_sent": f"The request was lost on its way and had no effect: {_AGAIN}.",
    "image_status": _DOUBTFUL,
    "image_format": _DOUBTFUL,
    "image_short": _DOUBTFUL,
    "image_size": _DOUBTFUL,
    "image_min_disk": _DOUBTFUL,
    "image_hash": _DOUBTFUL,
    "image_shared": "Remove one of the rows.",
    "EVS.5413": f"The image quota is used up: delete images or have it raised, {_RETRY}.",
    "IMG.0015": f"The image quota is used up: delete images or have it raised, {_RETRY}.",
}
_BY_STATUS = {
    400: f"The cloud rejects the request as it stands: fix the volume or the row, {_RETRY}.",
    401: f"The credentials were rejected: renew them, {_RETRY}.",
    403: f"The account may not do this: have the permission granted, {_RETRY}.",
    404: _BY_CODE["volume_not_found"],
    409: f"Another operation is running on the volume: wait until it ends, {_RETRY}.",
    413: f"A limit of the project is reached: free some of it or have it raised, {_RETRY}.",
    429: f"The cloud asks for fewer requests: lower --requests-per-second, {_RETRY}.",
}
_BY_STATE = {
    JobState.AMBIGUOUS: "Find out whose images these are. Delete the surplus ones in the cloud, or name them"
    " with --ours and --not-ours, then run batchexport reconcile.",
    JobState.SUCCEEDED: _DOUBTFUL,
    JobState.SKIPPED: "Left out on purpose. Once the cause is gone, run batchexport retry --skipped.",
}
#: Rows that were skipped for one of these are not brought back by `retry --skipped` alone.
_SKIPPED = {
    "exported_elsewhere": f"Nothing, it is exported. To export it once more, {_AGAIN} --skipped --again.",
    "not_listed": "Nothing; or put the row back into the list, and run the list again.",
}
#: Rows that succeeded with an image that is as good as any other.
_LABELS = {"labels_not_set": "Set them yourself: openstack image set --property KEY=VALUE --tag TAG IMAGE."}
_SERVER_FAULT = f"The cloud itself failed: give its operators the request ids, {_RETRY}."
_ANYTHING = f"Fix what the cloud names, {_RETRY}."


def advice_on(state: JobState, *, code: str | None, status: int | None, words: str) -> str:
    """One or two sentences for whoever has to fix a row that ended in this state."""
    if state is JobState.SKIPPED and code in _SKIPPED:
        return _SKIPPED[code]
    if state is JobState.SUCCEEDED and code in _LABELS:
        return _LABELS[code]
    if state in _BY_STATE:
        return _BY_STATE[state]
    if code in _BY_CODE:
        return _BY_CODE[code]
    if "quota" in words.lower():
        return _BY_CODE["EVS.5413"]
    if status is not None and status >= 500:
        return _SERVER_FAULT
    return _BY_STATUS.get(status or 0, _ANYTHING)


def who_acts(state: JobState, *, code: str | None, status: int | None, words: str) -> str:
    """Who is able to fix a row that ended in this state."""
    if state not in (JobState.FAILED, JobState.PENDING):
        return OPERATOR
    if code in _WHO_BY_CODE:
        return _WHO_BY_CODE[code]
    if code in _BY_CODE:
        return OPERATOR
    if "quota" in words.lower():
        return PROJECT_ADMINISTRATOR
    if status is not None and status >= 500:
        return CLOUD_ADMINISTRATOR
    return _WHO_BY_STATUS.get(status or 0, OPERATOR)
