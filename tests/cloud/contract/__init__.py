"""What every cloud behind the engine's ports has to do: one set of cases for the client and for each fake."""

import pytest

pytest.register_assert_rewrite("tests.cloud.contract.cases", "tests.cloud.contract.site")
