"""What is logged of snapshots and temporary volumes."""

from __future__ import annotations

from functools import partial

from batchexport.engine.ports import Cloud, cloud_name
from batchexport.engine.resources.kind import Messages
from batchexport.model import ResourceState
from batchexport.shell_command import on_state_file
from batchexport.store import CANNOT_BE_DELETED, Work


def messages(cloud: Cloud, work: Work) -> Messages:
    """The messages, with the commands as they can be pasted."""
    command = partial(on_state_file, state_path=work.path, cloud=cloud_name(cloud))
    resume, release = command("resume"), command("resources", options=" --release")
    return Messages(
        id_field="resource_id",
        name="%s",
        states={
            ResourceState.ACQUIRING: "being made",
            ResourceState.HELD: "in use",
            ResourceState.RELEASING: "being deleted",
        },
        acquiring="making %s",
        held="%s is available",
        released="%s is deleted",
        lost="%s no longer exists",
        unseen="cannot list snapshots and temporary volumes (%s); trying again",
        taken_back="%s was deleted by somebody else before its volume was exported",
        stuck="%s cannot be deleted (%s): look at it in the cloud; it is left as it is",
        stuck_note=f"{CANNOT_BE_DELETED}: %s",
        releasing="deleting temporary copies before the run ends: %s",
        leave_hint=f"a second Ctrl-C exits now; then `{resume}` or `{release}` deletes them",
        left="temporary copies are not deleted: %s",
        left_hint=f"`{resume}` or `{release}` deletes them",
        left_exported_hint=f"`{resume}` deletes them after the exports",
        last_hint=f"`{release}` deletes them",
        last_unread="temporary copies may be left (cannot read which: %s)",
        last_late="not every temporary copy could be deleted (%s)",
        last_requested="temporary copies asked to be deleted, not seen gone: %s",
        last_kept="temporary copies not deleted: %s",
    )
