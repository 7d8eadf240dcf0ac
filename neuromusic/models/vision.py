"""Computer-vision networks of torchvision without its weights, for any number of input channels.

Their last maps are averaged over bands and time before the dense layers (AlexNet and VGG would
resize them to 6 x 6 and 7 x 7, which windows of 128 frames do not fill). The VGGs are the versions
with batch normalisation, which can be trained from scratch. torchvision is imported when one is
built.
"""

import itertools
from collections.abc import Callable

from torch import nn

from neuromusic.models.network import Chain, InputSpec, MeanOverMap
from neuromusic.models.receptive_field import Geometry
from neuromusic.models.registry import register_model


def _first_channels(module: nn.Module, n_channels: int) -> None:
    """Replace the first convolution by one with another number of input channels."""
    for name, child in module.named_modules():
        if isinstance(child, nn.Conv2d):
            new = nn.Conv2d(
                n_channels, child.out_channels, child.kernel_size, child.stride, child.padding,  # type: ignore[arg-type]
                bias=child.bias is not None,
            )  # fmt: skip
            nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, new)
            return


def _mean_then(classifier: nn.Module) -> Callable[[Geometry], nn.Module]:
    return lambda _: nn.Sequential(MeanOverMap(), classifier)


def _cut_at_pools(features: nn.Sequential) -> list[nn.Sequential]:
    """Split layers into blocks that end with a pool."""
    blocks: list[list[nn.Module]] = [[]]
    for layer in features:
        blocks[-1].append(layer)
        if isinstance(layer, nn.MaxPool2d):
            blocks.append([])
    return [nn.Sequential(*block) for block in blocks if block]


@register_model("alexnet")
def alexnet(spec: InputSpec, dropout: float = 0.5) -> Chain:
    """AlexNet (Krizhevsky 2014, arXiv 1404.5997)."""
    from torchvision.models import alexnet as theirs

    features = theirs(num_classes=1).features
    _first_channels(features, spec.n_channels)
    cuts = [0, 3, 6, 8, 10, 13]  # after each convolution and the pool that may follow it
    blocks: dict[str, nn.Module] = {
        f"conv{i + 1}": features[first:last]
        for i, (first, last) in enumerate(itertools.pairwise(cuts))
    }
    return Chain(spec, blocks, _mean_then(_classifier(256, spec.n_classes, dropout)))


def _classifier(n_in: int, n_classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_in, 4096), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(4096, n_classes),
    )  # fmt: skip


def _vgg(name: str, layers: str) -> None:
    @register_model(name)
    def build(spec: InputSpec, dropout: float = 0.5) -> Chain:
        from torchvision.models.vgg import cfgs, make_layers

        features = make_layers(cfgs[layers], batch_norm=True)
        for module in features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # these have a bias
        _first_channels(features, spec.n_channels)
        blocks: dict[str, nn.Module] = {
            f"block{i + 1}": block for i, block in enumerate(_cut_at_pools(features))
        }
        return Chain(spec, blocks, _mean_then(_classifier(512, spec.n_classes, dropout)))

    build.__doc__ = f"{name.upper()} with batch normalisation (Simonyan and Zisserman 2015)."


for _name, _layers in (("vgg11", "A"), ("vgg13", "B"), ("vgg16", "D"), ("vgg19", "E")):
    _vgg(_name, _layers)


def _resnet(name: str) -> None:
    @register_model(name)
    def build(spec: InputSpec) -> Chain:
        from torchvision.models import resnet

        net = getattr(resnet, name)(num_classes=spec.n_classes)
        _first_channels(net, spec.n_channels)
        blocks: dict[str, nn.Module] = {
            "stem": nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool),
            **{f"layer{i}": getattr(net, f"layer{i}") for i in range(1, 5)},
        }
        return Chain(spec, blocks, _mean_then(net.fc))

    build.__doc__ = f"{name} (He et al. 2016)."


for _name in ("resnet34", "resnet50"):
    _resnet(_name)


@register_model("googlenet")
def googlenet(spec: InputSpec, dropout: float = 0.2) -> Chain:
    """GoogLeNet, Inception v1 with batch normalisation (Szegedy et al. 2015)."""
    from torchvision.models import googlenet as theirs

    net = theirs(num_classes=spec.n_classes, aux_logits=False, init_weights=False)
    _first_channels(net, spec.n_channels)
    _modules_for_relu(net)
    blocks: dict[str, nn.Module] = {
        "stem": nn.Sequential(net.conv1, net.maxpool1, net.conv2, net.conv3, net.maxpool2),
        "inception3": nn.Sequential(net.inception3a, net.inception3b, net.maxpool3),
        "inception4": nn.Sequential(
            net.inception4a, net.inception4b, net.inception4c, net.inception4d, net.inception4e,
            net.maxpool4,
        ),
        "inception5": nn.Sequential(net.inception5a, net.inception5b),
    }  # fmt: skip
    return Chain(spec, blocks, _mean_then(nn.Sequential(nn.Dropout(dropout), net.fc)))


def _modules_for_relu(module: nn.Module) -> None:
    """Turn torchvision's functional ReLUs into modules, so that they can be replaced."""
    from torchvision.models.googlenet import BasicConv2d

    for name, child in module.named_children():
        if isinstance(child, BasicConv2d):
            setattr(module, name, nn.Sequential(child.conv, child.bn, nn.ReLU()))
        else:
            _modules_for_relu(child)


@register_model("densenet121")
def densenet121(spec: InputSpec, dropout: float = 0.0) -> Chain:
    """DenseNet121 (Huang et al. 2017)."""
    from torchvision.models import densenet121 as theirs

    net = theirs(num_classes=spec.n_classes, drop_rate=dropout)
    _first_channels(net, spec.n_channels)
    f = net.features
    blocks: dict[str, nn.Module] = {
        "stem": nn.Sequential(f.conv0, f.norm0, f.relu0, f.pool0),
        "dense1": nn.Sequential(f.denseblock1, f.transition1),
        "dense2": nn.Sequential(f.denseblock2, f.transition2),
        "dense3": nn.Sequential(f.denseblock3, f.transition3),
        "dense4": nn.Sequential(f.denseblock4, f.norm5, nn.ReLU()),
    }
    return Chain(spec, blocks, _mean_then(net.classifier))
