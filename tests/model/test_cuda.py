"""On a GPU the model answers and learns as on the CPU; scripts/gpu_check.sh runs these tests.

`GPU_CHECK_DEVICE=cpu` tries the tests themselves where there is no GPU.
"""

from __future__ import annotations

import copy
import os

import pytest
import torch

from hf_lstm_sentiment import SentimentLSTMForSequenceClassification
from tests.model.test_modeling import IDS, LABELS, small

DEVICE = os.environ.get("GPU_CHECK_DEVICE", "cuda")
# Largest differences of a logit from float64's on the CPU.
BOUNDS = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 3e-2}

pytestmark = pytest.mark.skipif(
    DEVICE == "cuda" and not torch.cuda.is_available(), reason="no CUDA device (GPU_CHECK_DEVICE=cpu tries the tests)"
)


@pytest.fixture(autouse=True)
def exact_products():
    """cuDNN's LSTM uses TF32 unless told not to."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    yield
    torch.backends.cudnn.allow_tf32 = before


def models(dtype, **changes):
    """A model in float64 on the CPU, and a copy of it on the device."""
    model = SentimentLSTMForSequenceClassification(small(**changes)).double()
    return model, copy.deepcopy(model).to(DEVICE, dtype)


@pytest.mark.parametrize("pooling", ["last", "max", "mean"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("states_wanted", [False, True])
def test_logits_states_and_gradients_are_those_of_the_cpu(pooling, layers, bidirectional, states_wanted):
    model, on_device = models(torch.float64, pooling=pooling, bidirectional=bidirectional, num_hidden_layers=layers)
    for ids in (IDS, torch.zeros_like(IDS)):
        model.zero_grad()
        on_device.zero_grad()
        expected = model(ids, labels=LABELS, output_hidden_states=states_wanted)
        output = on_device(ids.to(DEVICE), labels=LABELS.to(DEVICE), output_hidden_states=states_wanted)
        expected.loss.backward()
        output.loss.backward()
        torch.testing.assert_close(output.logits.cpu(), expected.logits, rtol=0, atol=1e-10)
        if states_wanted:
            assert len(output.hidden_states) == len(expected.hidden_states) == layers + 1
            for one, other in zip(output.hidden_states, expected.hidden_states, strict=True):
                torch.testing.assert_close(one.cpu(), other, rtol=0, atol=1e-10)
        for one, other in zip(on_device.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(one.grad.cpu(), other.grad, rtol=0, atol=1e-10)


def test_an_adapter_on_the_lstm_is_used():
    peft = pytest.importorskip("peft")
    adapter = peft.LoraConfig(r=2, target_modules=[], target_parameters=["lstm.weight_hh_l0"], init_lora_weights=False)
    adapted = peft.get_peft_model(models(torch.float64)[0], adapter).eval()
    with torch.no_grad():
        expected = adapted(input_ids=IDS).logits
        on_device = copy.deepcopy(adapted).to(DEVICE)(input_ids=IDS.to(DEVICE)).logits.cpu()
        with adapted.disable_adapter():
            plain = adapted(input_ids=IDS).logits
    torch.testing.assert_close(on_device, expected, rtol=0, atol=1e-10)
    assert not torch.allclose(plain, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pooling", ["last", "max", "mean"])
@pytest.mark.parametrize("dtype", BOUNDS)
def test_lower_precisions_stay_near(dtype, pooling):
    model, on_device = models(dtype, pooling=pooling, bidirectional=True, num_hidden_layers=2)
    with torch.inference_mode():
        expected, output = model.eval()(IDS), on_device.eval()(IDS.to(DEVICE))
    assert output.logits.dtype in (dtype, torch.float32)
    torch.testing.assert_close(output.logits.cpu().double(), expected.logits, rtol=0, atol=BOUNDS[dtype])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_trains(dtype):
    if DEVICE == "cpu" and dtype == torch.float16:
        pytest.skip("autocast on a CPU is for bfloat16")
    model, on_device = models(torch.float32, num_hidden_layers=2)
    expected = model(IDS, labels=LABELS)
    expected.loss.backward()
    with torch.autocast(DEVICE, dtype):
        output = on_device(IDS.to(DEVICE), labels=LABELS.to(DEVICE))
    output.loss.backward()
    assert abs(float(output.loss) - float(expected.loss)) < BOUNDS[dtype]
    for one, other in zip(on_device.parameters(), model.parameters(), strict=True):
        assert one.grad.dtype == torch.float32
        torch.testing.assert_close(one.grad.cpu().double(), other.grad, rtol=0, atol=BOUNDS[dtype])
