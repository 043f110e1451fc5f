"""Registries: the modules of a package are its entries, so that a new file is a new entry.

Modules whose names start with an underscore are helpers. Listing imports nothing, so that the workflow can check
names without loading torch.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import importlib.machinery
import importlib.util
import pkgutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from spectralseg import monai_networks
from spectralseg.errors import InputError
from spectralseg.extras import is_installed

WEIGHTS_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors", ".npz")


def names(package: str) -> list[str]:
    """Entries of a package, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(folders_of(package)) if not m.name.startswith("_"))


def folders_of(package: str) -> list[str]:
    """Folders of a package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No module named '{package}'", name=package)
    return list(spec.submodule_search_locations)


# Models that segmentation-models-pytorch builds under these names. Listed here because the library takes seconds to
# import; a test compares both.
LIBRARY_MODELS = (
    "deeplabv3",
    "deeplabv3plus",
    "dpt",
    "fpn",
    "linknet",
    "manet",
    "pan",
    "pspnet",
    "segformer",
    "unet",
    "unetplusplus",
    "upernet",
)


_MONAI = "monai:"  # prefix of the names of networks of MONAI


def model_names() -> list[str]:
    """Names of all models: modules of :mod:`spectralseg.models`, :data:`LIBRARY_MODELS`, and networks of MONAI."""
    return sorted({*names("spectralseg.models"), *LIBRARY_MODELS, *monai_names()})


def monai_names() -> list[str]:
    """Names of the networks of MONAI, e.g. ``monai:UNet``."""
    return [_MONAI + name for name in monai_networks.NETWORKS]


def monai_network(model: str) -> monai_networks.MonaiNetwork | None:
    """How a network of MONAI is built; None for other models."""
    return monai_networks.NETWORKS.get(model.removeprefix(_MONAI)) if model.startswith(_MONAI) else None


def library_of(model: str) -> str:
    """The library whose encoders a model uses; weights of the same name in two libraries are different files."""
    return "segmentation_models_pytorch" if monai_network(model) is None else "monai"


def has_encoder(model: str) -> bool:
    """Whether the encoder of a model can be chosen."""
    network = monai_network(model)
    return network is None or bool(network.encoders)


_ENCODERS_OF_TIMM = ("tu-", "timm-")  # prefixes of encoders that only timm knows


def has_library_encoder(model: str, encoder: str) -> bool:
    """Whether the encoder of a model is one of segmentation-models-pytorch or MONAI, whose names can be checked.

    Names of segmentation-models-pytorch can be checked only where it is installed, as for all that trains.
    """
    if (network := monai_network(model)) is not None:
        return bool(network.encoders)
    of_library = model in (*LIBRARY_MODELS, "transunet") and not encoder.startswith(_ENCODERS_OF_TIMM)
    return of_library and is_installed(library_of(model))


def encoders(model: str = "unet") -> list[str]:
    """Names of the encoders of a model's library, segmentation-models-pytorch or MONAI, sorted."""
    if (network := monai_network(model)) is not None:
        return sorted(network.encoders)
    return sorted(name for file in _encoder_files() for name in _pretrained(file))


def encoder_weights(encoder: str, model: str = "unet") -> tuple[str, ...] | None:
    """Names of the pretrained weights of an encoder; None if the library of the model has no such encoder.

    Those of segmentation-models-pytorch are read from its source, as the library takes seconds to import.
    """
    if (network := monai_network(model)) is not None:
        return network.encoders.get(encoder)
    for file in _encoder_files():
        if f'"{encoder}"' in file.read_text(encoding="utf-8") and encoder in _pretrained(file):
            return _pretrained(file)[encoder]
    return None


def _encoder_files() -> list[Path]:
    (library,) = folders_of("segmentation_models_pytorch")
    return sorted(Path(library).glob("encoders/*.py"))


@functools.cache
def _pretrained(file: Path) -> dict[str, tuple[str, ...]]:
    """Encoders of a module of the library and the names of their weights."""
    encoder_weights = {}
    for table in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        for encoder, settings in _items(table):
            for key, weights in _items(settings):
                if key == "pretrained_settings":
                    encoder_weights[encoder] = tuple(name for name, _ in _items(weights))
    return encoder_weights


def _items(node: ast.AST) -> list[tuple[str, ast.expr]]:
    """Keys and values of a literal dictionary; empty for other nodes."""
    entries = zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ()
    return [(str(key.value), value) for key, value in entries if isinstance(key, ast.Constant)]


# Arguments of models that are not options, each with a remedy.
_NO_OPTIONS = {
    **dict.fromkeys(("name", "model"), "give it as the key 'model'"),
    "mae": "give names under 'pretraining' as the key 'pretrained'",
    **dict.fromkeys(("encoder", "encoder_name"), "give it as the key 'encoder'"),
    "encoder_weights": "give it as the key 'encoder_weights'",
    **dict.fromkeys(("in_channels", "in_chans", "classes"), "it follows from the dataset; leave it out"),
    "activation": "models return raw logits; leave it out",
    "aux_params": "models return logits only; leave it out",
    # Arguments of timm, to which the models of the library pass unknown ones.
    "num_classes": "encoders have no classifier; leave it out",
    **dict.fromkeys(("features_only", "out_indices"), "the model sets it; leave it out"),
    **dict.fromkeys(
        ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path"),
        "give weights as the key 'encoder_weights'",
    ),
}


def check_options(model: str, encoder: str, options: Iterable[str]) -> None:
    """Reject unknown options of a model, without importing it.

    Encoders of timm (``tu-``) take further options, which are unknown before the encoder is built. For these encoders,
    an unknown option is rejected only if it resembles an option of the model.

    Raises:
        InputError: names the option and the nearest valid one.
    """
    options = list(options)
    valid = model_options(model) if options else None
    remedies = _NO_OPTIONS if monai_network(model) is None else _NO_OPTIONS | monai_networks.NO_OPTIONS
    for name in options:
        if name in remedies:
            raise InputError(f"'{name}' is not an option of a model: {remedies[name]}")
        if valid is None or name in valid:
            continue
        passed_to_timm = model in LIBRARY_MODELS and encoder.startswith("tu-")
        if not passed_to_timm or difflib.get_close_matches(name, valid, n=1, cutoff=0.8):
            raise InputError(f"model '{model}' has no option '{name}'; {suggest(name, valid)}")


def check_objective_options(objective: str, options: Iterable[str]) -> None:
    """Reject unknown options of an objective, without importing it.

    Raises:
        InputError: names the option and the nearest valid one.
    """
    options = list(options)
    valid = objective_options(objective) if options else None
    for name in options:
        if valid is not None and name not in valid:
            raise InputError(f"objective '{objective}': option '{name}' is unknown; {suggest(name, valid or ['none'])}")


@functools.cache
def objective_options(objective: str) -> tuple[str, ...] | None:
    """Names of an objective's options, read from its source; None if the source does not define them statically.

    The options are the parameters of the class that the module assigns to ``build``. A class that inherits ``__init__``
    from ``Objective`` has none.
    """
    spec = importlib.machinery.PathFinder.find_spec(objective, folders_of("spectralseg.objectives"))
    if spec is None or spec.origin is None:
        return None
    body = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    class_names = [
        statement.value.id
        for statement in body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.value, ast.Name)
        and any(isinstance(target, ast.Name) and target.id == "build" for target in statement.targets)
    ]
    classes = [node for node in body if isinstance(node, ast.ClassDef) and node.name in class_names]
    if len(classes) != 1:
        return None
    (build,) = classes
    for method in build.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            options = [node.arg for node in (*method.args.args, *method.args.kwonlyargs) if node.arg != "self"]
            return None if method.args.kwarg else tuple(options)
    return () if [ast.unparse(base).rpartition(".")[2] for base in build.bases] == ["Objective"] else None


@functools.cache
def model_options(model: str) -> tuple[str, ...] | None:
    """Names of a model's options, read from its source.

    None if the source does not define them statically, or if the library of the model is not installed.

    For modules of :mod:`spectralseg.models`, they are the keyword-only parameters of ``build``; for models of
    segmentation-models-pytorch and MONAI, the parameters of their classes.
    """
    network = monai_network(model)
    if network is None and model not in LIBRARY_MODELS:
        keywords = _keywords(model)
        return None if keywords is None else tuple(name for name in keywords if name not in _NO_OPTIONS)
    if not is_installed(library_of(model)):
        return None
    if network is not None:
        return _options_of_monai(model.removeprefix(_MONAI), network.file)
    (library,) = folders_of("segmentation_models_pytorch")
    for file in sorted(Path(library).glob("decoders/*/model.py")):
        for builder in _functions(file, "__init__", of=model):
            parameters = (node.arg for node in (*builder.args, *builder.kwonlyargs))
            return tuple(name for name in parameters if name != "self" and name not in _NO_OPTIONS)
    return None


def _options_of_monai(name: str, module: str) -> tuple[str, ...] | None:
    (library,) = folders_of("monai")
    for constructor in _functions(Path(library, "networks", "nets", f"{module}.py"), "__init__", of=name.lower()):
        return monai_networks.options_of(node.arg for node in (*constructor.args, *constructor.kwonlyargs))
    return None


def check_image_size(model: str, options: Mapping[str, Any], size: int) -> None:
    """Reject images whose sides a network of MONAI cannot halve as often as it does.

    Its deepest feature map must have two pixels per side, as norms over a single pixel are undefined. Other models are
    not checked here: their first step is.

    Args:
        model: name of the model.
        options: its options.
        size: side of the images in pixels.

    Raises:
        InputError: names the model, the size and the divisor.
    """
    network = monai_network(model)
    divisor = None if network is None else monai_networks.divisor_of(network, options)
    if divisor is not None and (size % divisor or size < 2 * divisor):
        raise InputError(
            f"model '{model}' cannot take images of {size} x {size} pixels: with its options, sides must be multiples "
            f"of {divisor} and at least {2 * divisor}; change 'image_size' or the options"
        )


def takes_pretrained(model: str) -> bool:
    """Whether a model uses pretrained masked autoencoders: its ``build`` has the keyword ``mae``."""
    return model not in LIBRARY_MODELS and "mae" in (_keywords(model) or ())


def _keywords(model: str) -> tuple[str, ...] | None:
    """Keyword-only parameters of the function ``build`` of a module; None if its source does not define them."""
    spec = importlib.machinery.PathFinder.find_spec(model, folders_of("spectralseg.models"))
    builders = [] if spec is None or spec.origin is None else _functions(Path(spec.origin), "build")
    return None if not builders or builders[0].kwarg else tuple(node.arg for node in builders[0].kwonlyargs)


def _functions(file: Path, name: str, of: str | None = None) -> list[ast.arguments]:
    """Parameters of the functions called ``name`` in a module, or in its class ``of``, which is given in lower case."""
    body: list[ast.stmt] = ast.parse(file.read_text(encoding="utf-8")).body
    if of is not None:
        classes = [node for node in body if isinstance(node, ast.ClassDef) and node.name.lower() == of]
        body = [statement for node in classes for statement in node.body]
    return [node.args for node in body if isinstance(node, ast.FunctionDef) and node.name == name]


def weights_file(weights: str | None) -> Path | None:
    """The file that ``encoder_weights`` names, or None for a name of published weights: files have a suffix."""
    return Path(weights) if weights is not None and Path(weights).suffix in WEIGHTS_SUFFIXES else None


def load(package: str, name: str, kind: str) -> ModuleType:
    """Import one entry.

    Raises:
        InputError: there is no such entry; the message names the nearest one.
    """
    if name not in names(package):
        raise InputError(f"{kind} '{name}' is unknown; {suggest(name, names(package))}")
    return importlib.import_module(f"{package}.{name}")


def suggest(name: str, valid: Iterable[str]) -> str:
    """The nearest valid name and all valid names, as the end of a message."""
    valid = list(valid)
    near = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return (f"did you mean '{near[0]}'? " if near else "") + f"valid: {', '.join(valid)}"
