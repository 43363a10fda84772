"""What several end-to-end tests start from."""

from __future__ import annotations

import pytest
from trained import Trained, train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The embedded world and a policy that searches it (a minute and a half, once)."""
    return train(tmp_path_factory.mktemp("trained"))
