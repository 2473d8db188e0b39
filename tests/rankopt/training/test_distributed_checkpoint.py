"""Checkpoints of torch.distributed.checkpoint: refused where they would lose the state, exact by way of one file."""

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

from rankopt import AdaRankGrad

pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled"),
    pytest.mark.filterwarnings("ignore:.*assum.* single process"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def model_and_optimizer():
    model = torch.nn.Linear(32, 48)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)) / 6)
    return model, AdaRankGrad(model.named_parameters(), lr=1e-2, max_rank=8, min_gap=1, max_gap=3)


def train(model, optimizer, first, last):
    for step in range(first, last):
        inputs = torch.randn(16, 32, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(inputs).square().sum().backward()
        optimizer.step()


@pytest.fixture
def saved(tmp_path):
    model, optimizer = model_and_optimizer()
    train(model, optimizer, 0, 7)
    folder = tmp_path / "checkpoint"
    dcp.save({"optim": get_optimizer_state_dict(model, optimizer), "model": model.state_dict()}, checkpoint_id=folder)
    return folder, model, optimizer


def test_a_fresh_optimizer_has_no_state():
    _, optimizer = model_and_optimizer()
    assert len(optimizer.state) == 0
    assert optimizer.state_dict()["state"] == {}


def test_reading_into_a_fresh_optimizer_is_refused(saved):
    folder, _, _ = saved
    model, optimizer = model_and_optimizer()
    state = {"optim": get_optimizer_state_dict(model, optimizer), "model": model.state_dict()}
    dcp.load(state, checkpoint_id=folder)
    with pytest.raises(ValueError, match=r"'weight' counts 3 refreshes but has no basis.*dcp_to_torch_save"):
        set_optimizer_state_dict(model, optimizer, state["optim"])


def test_by_way_of_one_file_it_resumes_exactly(saved, tmp_path):
    folder, model, optimizer = saved
    resumed, its_optimizer = model_and_optimizer()
    dcp_to_torch_save(folder, tmp_path / "checkpoint.pt")
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    resumed.load_state_dict(checkpoint["model"])
    set_optimizer_state_dict(resumed, its_optimizer, checkpoint["optim"])
    train(model, optimizer, 7, 15)
    train(resumed, its_optimizer, 7, 15)
    assert torch.equal(resumed.weight, model.weight)
    assert torch.equal(resumed.bias, model.bias)
