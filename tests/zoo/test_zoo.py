import pytest
import timm
import torch

from momos_compress.data.registry import register_dataset
from momos_compress.sources.open import NamedSource, register_source
from momos_zoo import Digits, weights_path
from momos_zoo.cifar_resnet import CifarResNet, OptionAShortcut


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("cifar_resnet20", 269_722),
        ("cifar_resnet32", 464_154),
        ("cifar_resnet44", 658_586),
        ("cifar_resnet56", 853_018),
    ],
)
def test_the_cifar_networks_have_the_published_sizes(name: str, parameters: int) -> None:
    model = timm.create_model(name).eval()
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model.pretrained_cfg["input_size"] == (3, 32, 32)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    names = [n for n, _ in model.named_parameters()]
    assert names[:3] == ["conv1.weight", "bn1.weight", "bn1.bias"]
    assert "layer3.2.conv2.weight" in names
    assert names[-2:] == ["linear.weight", "linear.bias"]


def test_the_mlp_has_four_hidden_layers_of_256() -> None:
    model = timm.create_model("momos_mlp").eval()
    widths = [m.out_features for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert widths == [256, 256, 256, 256, 10]
    mnist = timm.create_model("momos_mlp", in_chans=1, img_size=28).eval()
    assert mnist(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_the_vision_transformer_has_64_tokens_and_no_class_token() -> None:
    model = timm.create_model("cifar_vit").eval()
    assert sum(p.numel() for p in model.parameters()) == 810_890
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert model.forward_features(torch.zeros(2, 3, 32, 32)).shape == (2, 64, 128)
    assert model.pos_embed.shape == (1, 64, 128)
    assert (len(model.blocks), model.blocks[0].attn.num_heads) == (6, 4)


def test_the_mobilenet_has_nine_depthwise_convolutions_and_keeps_the_resolution_in_its_stem() -> None:
    model = timm.create_model("cifar_mobilenet").eval()
    assert sum(p.numel() for p in model.parameters()) == 274_082
    images = torch.zeros(2, 3, 32, 32)
    assert model(images).shape == (2, 10)
    assert model.conv_stem(images).shape == (2, 16, 32, 32)
    assert model.forward_features(images).shape == (2, 256, 4, 4)
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    depthwise = [m for m in convolutions if m.groups > 1]
    assert all(m.groups == m.in_channels == m.out_channels and m.kernel_size == (3, 3) for m in depthwise)
    # The stem and the last one, two in the first block and three in each of the eight others; a BatchNorm for each.
    assert (len(depthwise), len(convolutions)) == (9, 28)
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules()) == 28


def test_the_mobilenet_tells_the_resolution_of_its_features() -> None:
    model = timm.create_model("cifar_mobilenet").eval()
    _, features = model.forward_intermediates(torch.zeros(1, 3, 32, 32))
    assert [32 // f.shape[-1] for f in features] == [info["reduction"] for info in model.feature_info] == [1, 2, 4, 8]


@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_vit", "cifar_mobilenet", "momos_mlp"])
def test_timm_may_replace_the_head(name: str) -> None:
    model = timm.create_model(name, num_classes=3).eval()
    images = torch.zeros(1, 3, 32, 32)
    assert model(images).shape == (1, 3)
    model.reset_classifier(0)
    assert model(images).shape == (1, model.num_features)
    assert torch.equal(model(images), model.forward_head(model.forward_features(images), pre_logits=True))


def test_option_a_takes_every_second_pixel_and_pads_channels_on_both_sides() -> None:
    x = torch.arange(32.0).reshape(1, 2, 4, 4)
    y = OptionAShortcut(2, 4)(x)
    assert y.shape == (1, 4, 2, 2)
    assert not y[:, [0, 3]].any()
    assert torch.equal(y[:, 1:3], x[:, :, ::2, ::2])


def test_a_depth_that_is_no_residual_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"6 n \+ 2"):
        CifarResNet(depth=21)


def test_the_digits_are_split_once_and_the_weights_are_small() -> None:
    train, test = Digits("train"), Digits("test")
    assert (len(train), len(test)) == (1347, 450)
    seen = {image.tobytes() for image in train.images}
    assert sum(image.tobytes() in seen for image in test.images) == 0
    assert sorted(set(test.targets)) == list(range(10))
    assert train.images.max() == 255
    assert weights_path().stat().st_size < 2**20


def test_a_name_that_is_taken_raises() -> None:
    with pytest.raises(ValueError, match="registered already"):
        register_source("digits", NamedSource(weights_path))
    with pytest.raises(ValueError, match="registered already"):
        register_dataset("digits", lambda: None)
