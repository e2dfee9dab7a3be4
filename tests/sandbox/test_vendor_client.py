"""The vendor's own clients for EVS and ECS meet the sandbox, in a process of their own: they block.

They sign with the access key by the vendor's code, and were written by people who never saw this sandbox.
Release 3.0.45 of the one for EVS has the call; later ones no longer export volumes.
"""

from __future__ import annotations

import asyncio
import os
import sys

from batchexport.sandbox import Profile, SandboxSettings, SandboxVolume, serve
from batchexport.sandbox.settings import (
    ACCESS_KEY,
    PROJECT_ID,
    SECRET_KEY,
    SECURITY_TOKEN,
    TEMPORARY_ACCESS_KEY,
    TEMPORARY_SECRET_KEY,
)
from tests.sandbox.asking import OTHER_VOLUME, VOLUME
from tests.sandbox.test_compute import LOCKED, TWIN, WEB

SCRIPT = """
import sys
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkevs.v2 import (
    CinderExportToImageOption, CinderExportToImageRequest, CinderExportToImageRequestBody, EvsClient,
    ListVolumesRequest, ShowVolumeRequest,
)
url, access, secret, security_token, project, volume, used = sys.argv[1:]
key = BasicCredentials(access, secret, project)
if security_token:
    key.with_security_token(security_token)
client = EvsClient.new_builder().with_credentials(key).with_endpoint(url).build()

def export(volume_id, **options):
    option = CinderExportToImageOption(
        image_name="by-vendor", disk_format="zvhd2", os_type="linux", **options
    )
    body = CinderExportToImageRequestBody(os_volume_upload_image=option)
    return client.cinder_export_to_image(CinderExportToImageRequest(volume_id=volume_id, body=body))

accepted = export(volume).os_volume_upload_image
accepted = accepted if isinstance(accepted, dict) else accepted.to_dict()
print(accepted["status"], accepted["image_name"], accepted["disk_format"], accepted["id"] == volume)
print(client.show_volume(ShowVolumeRequest(volume_id=volume)).volume.status)
print(sorted(found.status for found in client.list_volumes(ListVolumesRequest(limit=10)).volumes))
for volume_id in (volume, used):
    try:
        export(volume_id, force=False)
    except ClientRequestException as error:
        print(error.status_code, error.error_code, error.error_msg)
export(used, force=True)
"""
PRINTED = """\
uploading by-vendor zvhd2 True
uploading
['in-use', 'uploading']
400 EVS.5400 Must specify a valid status.
400 EVS.5400 Must specify a valid status.
"""

SERVERS_SCRIPT = """
import sys
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkecs.v2 import (
    BatchStartServersOption, BatchStartServersRequest, BatchStartServersRequestBody, BatchStopServersOption,
    BatchStopServersRequest, BatchStopServersRequestBody, EcsClient, ServerId, ShowJobRequest,
)
url, access, secret, project, *server_ids = sys.argv[1:]
key = BasicCredentials(access, secret, project)
client = EcsClient.new_builder().with_credentials(key).with_endpoint(url).build()
servers = [ServerId(id=server_id) for server_id in server_ids]
stop = BatchStopServersRequestBody(os_stop=BatchStopServersOption(servers=servers, type="SOFT"))
start = BatchStartServersRequestBody(os_start=BatchStartServersOption(servers=servers))
for job in (
    client.batch_stop_servers(BatchStopServersRequest(body=stop)),
    client.batch_start_servers(BatchStartServersRequest(body=start)),
):
    done = client.show_job(ShowJobRequest(job_id=job.job_id))
    print(done.status, done.entities.sub_jobs_total)
    for part in done.entities.sub_jobs:
        print(part.status, part.entities.server_id, part.error_code)
"""

SNAPSHOTS_SCRIPT = """
import sys
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkevs.v2 import (
    CreateSnapshotOption, CreateSnapshotRequest, CreateSnapshotRequestBody, DeleteSnapshotRequest, EvsClient,
    ListSnapshotsRequest, ShowSnapshotRequest,
)
url, access, secret, project, volume = sys.argv[1:]
key = BasicCredentials(access, secret, project)
client = EvsClient.new_builder().with_credentials(key).with_endpoint(url).build()
option = CreateSnapshotOption(volume_id=volume, name="ours", force=True, metadata={"run": "r1"})
made = client.create_snapshot(CreateSnapshotRequest(CreateSnapshotRequestBody(option))).snapshot
shown = client.show_snapshot(ShowSnapshotRequest(snapshot_id=made.id)).snapshot
print(made.status, shown.name, shown.status, shown.volume_id == volume, shown.metadata)
print([each.id == made.id for each in client.list_snapshots(ListSnapshotsRequest()).snapshots])
client.delete_snapshot(DeleteSnapshotRequest(snapshot_id=made.id))
print(client.list_snapshots(ListSnapshotsRequest()).snapshots)
"""


async def printed_by(script: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", script),
        *arguments,
        env=os.environ | {"NO_PROXY": "127.0.0.1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def exported_by_vendor(access: str, secret: str, security_token: str = "") -> str:
    used = SandboxVolume(volume_id=OTHER_VOLUME, name="used", status="in-use")
    async with serve(SandboxSettings(profile=Profile.EVS, volumes=[used], time_scale=1)) as sandbox:
        arguments = (sandbox.url, access, secret, security_token, PROJECT_ID, VOLUME, OTHER_VOLUME)
        printed = await printed_by(SCRIPT, *arguments)
        assert sandbox.exports_per_volume == {VOLUME: 1, OTHER_VOLUME: 1}
        assert sandbox.counts["bad_signatures"] == 0
        return printed


async def test_the_vendors_client_stops_and_starts_servers_by_batches() -> None:
    settings = SandboxSettings(profile=Profile.EVS, servers=[WEB, TWIN, LOCKED], time_scale=0)
    asked = [WEB.server_id, LOCKED.server_id]
    async with serve(settings) as sandbox:
        printed = await printed_by(SERVERS_SCRIPT, sandbox.url, ACCESS_KEY, SECRET_KEY, PROJECT_ID, *asked)
        parts = [f"SUCCESS {WEB.server_id} None", f"FAIL {LOCKED.server_id} Ecs.0100"]
        assert printed.splitlines() == ["FAIL 2", *parts] * 2
        assert sandbox.counts["bad_signatures"] == 0


async def test_the_vendors_client_exports_by_access_key() -> None:
    assert await exported_by_vendor(ACCESS_KEY, SECRET_KEY) == PRINTED


async def test_the_vendors_client_exports_by_temporary_key() -> None:
    printed = await exported_by_vendor(TEMPORARY_ACCESS_KEY, TEMPORARY_SECRET_KEY, SECURITY_TOKEN)
    assert printed == PRINTED


async def test_the_vendors_client_makes_and_deletes_a_snapshot_of_a_volume_in_use() -> None:
    used = SandboxVolume(volume_id=OTHER_VOLUME, name="used", status="in-use")
    async with serve(SandboxSettings(profile=Profile.EVS, volumes=[used], time_scale=0)) as sandbox:
        arguments = (sandbox.url, ACCESS_KEY, SECRET_KEY, PROJECT_ID, OTHER_VOLUME)
        printed = await printed_by(SNAPSHOTS_SCRIPT, *arguments)
    assert printed.splitlines() == ["creating ours available True {'run': 'r1'}", "[True]", "[]"]
