"""What a step asks the field off its rays: where something is known, and beside samples."""

from dataclasses import replace

import pytest
import torch

from neus_ns.models.off_rays import look_off_rays
from neus_ns.models.pipeline import SurfacePipeline, surface_pipeline
from tests.scenes import tiny_capture
from tests.test_neus_hash import tiny_config, trained


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> SurfacePipeline:
    folder = tmp_path_factory.mktemp("bare")
    tiny_capture(folder, size=32, views=6, masks=False)
    found = surface_pipeline(trained(tiny_config(folder, folder / "out", 20)).pipeline)
    found.train()
    return found


def test_what_is_asked_is_taken_apart_as_it_was_put_together(pipeline):
    bundle, _ = pipeline.datamanager.next_train(20)
    off = pipeline.surface_model(bundle)["off_rays"]
    free, surface = off.sdf_at_known
    assert len(free) == len(off.known.free) and len(surface) == len(off.known.surface)
    assert len(free) + len(surface) + len(off.gradient_beside) == len(off.sample.sdf)
    torch.testing.assert_close(off.gradient_beside, off.sample.gradient[len(free) + len(surface) :])
    assert len(off.ray_index) == len(off.gradient_beside) == len(off.gradient_on_rays) == 1024


def test_what_counts_nothing_is_not_asked(pipeline):
    model = pipeline.surface_model
    bundle, _ = pipeline.datamanager.next_train(20)
    _, samples = model.render_surface(model.unit_rays(bundle), torch.zeros(len(bundle.origins), 0))
    known = model.draw_known()
    off = look_off_rays(model.field, known, samples, replace(model.config.weights, smooth=0.0))
    assert len(off.gradient_beside) == 0 and len(off.sample.sdf) == len(known.free) + len(known.surface)
