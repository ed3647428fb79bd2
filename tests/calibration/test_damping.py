import pytest
import torch
from fit_states import positive

from momos_compress.calibration.damping import DAMPING, damped

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("width", [8, 9])
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_damping_makes_singular_moments_positive_definite(width: int, rank: int) -> None:
    moments = positive(2, width, rank) if rank else torch.zeros(2, width, width)
    found, damping = damped(moments, 4)
    assert found.shape == (2, width + -width % 4, width + -width % 4)
    assert damping == DAMPING  # this much is enough for moments that are sound
    assert float(torch.linalg.eigvalsh(found.double()).min()) > 0
    mean = moments.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)
    gap = found[:, :width, :width] - moments
    torch.testing.assert_close(gap, (damping * mean)[:, None, None] * torch.eye(width), rtol=1e-3, atol=1e-5)
    assert not found[:, :width, width:].any()


def test_damping_grows_until_it_is_enough() -> None:
    moments = torch.diag(torch.tensor([1.0, 1, 1, -0.05]))[None]
    found, damping = damped(moments, 4)
    assert damping == pytest.approx(10 * DAMPING)
    assert float(torch.linalg.eigvalsh(found).min()) > 0
