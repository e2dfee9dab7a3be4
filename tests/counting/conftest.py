from tests.engine.conftest import bench

__all__ = ["bench"]
