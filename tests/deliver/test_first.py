"""One delivery of each main kind; what goes wrong on the way is in `test_deliver`, which is slow."""

from __future__ import annotations

import pytest

from batchexport.app.console import NullConsole
from batchexport.app.restore import restore
from batchexport.config import CloudSettings, Settings
from batchexport.deliveries import DeliveryState
from tests.deliver.conftest import LIMITS, Two, each_image_is_there_once, files

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack")


async def test_every_image_is_copied_once_and_compared(two: Two) -> None:
    outcome = await two.deliver("cloud:west")
    assert [each.state for each in outcome.deliveries] == [DeliveryState.DELIVERED] * 3
    assert {each.verified_by for each in outcome.deliveries} == {
        "sha512 at the destination equals that of the source and of the bytes sent"
    }
    await each_image_is_there_once(two)
    again = await two.deliver("cloud:west")
    assert again.deliveries == outcome.deliveries
    await each_image_is_there_once(two)


async def test_a_saved_image_is_restored_once_with_its_properties(two: Two) -> None:
    outcome = await two.deliver(f"file://{two.folder}/saved/{{date}}/")
    assert outcome.open == 0
    folder = two.folder / "saved" / "20270101"
    names = files(folder)
    assert len(names) == 6
    manifests = [str(folder / name) for name in names if name.endswith(".manifest.json")]
    for said in ("sha512", "it was there already"):
        results = await restore(
            manifests,
            Settings(limits=LIMITS),
            CloudSettings(cloud="west"),
            max_transfers=2,
            bandwidth=None,
            console=NullConsole(),
        )
        assert all(each.reason.startswith(said) for each in results)
    await each_image_is_there_once(two)
    document = await two.west.image.data.get_document(results[0].image_id or "")
    assert document is not None
    assert document["hw_disk_bus"] == "scsi"
