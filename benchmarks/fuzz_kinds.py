"""What ``benchmarks.fuzz`` reads: for each kind of input sound files, and the code that mpiqe reads them with."""

import io
import json
import shutil
import socket
import struct
import tarfile
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

from benchmarks.memory import Mean
from PIL import Image

from benchmarks import malformed
from mpiqe.errors import ImageError
from mpiqe.sources.photo import Photo

CANARY = "canary"
"""The name of a file that no input may reach."""
Files = dict[str, bytes]
Use = Callable[[Path], None]

_SIZE = 32
_MOST_PHOTOS = 50  # that one list or archive is read to
_SECONDS = 60.0
"""That a photo or some rows may take by the clock, as ``mpiqe`` has it: on a busy machine sound ones are slow."""


_PATIENCE: dict[str, Any] = {"connect_timeout": 1, "read_timeout": 1, "attempts": 2, "pause": 0.01}


class Refused(Exception):  # noqa: N818 # it is no error of the code that is tested
    """The photos that were refused, one by one, where an input stands for several."""


@dataclass(frozen=True)
class Kind:
    """One kind of input."""

    name: str
    make: Callable[[Path], Files]
    """Sound files by name; the first one is read before anything is changed."""
    use: Callable[[Path], AbstractContextManager[Use]]
    """What reads one, be it a file or the folder that holds all of them; raises ``MPIQEError`` or ``Refused``."""
    seconds: float = 20.0
    """Of the reading process's own time, for one mutation."""
    megabytes: int = 600
    """On top of what the reading process has before."""
    one_file: bool = True
    """Whether ``use`` is given the file that was changed, and not the folder."""
    may_name_files: bool = False
    """Whether it may name local files: a list or a table of the user's own does."""
    apart: bool = False
    """Whether it is read in processes apart."""
    slow: tuple[str, ...] = ()
    """How the names of files begin that take long to read; a twentieth of the mutations is of these."""
    hosts: Literal["none", "public", "loopback", "any"] = "none"
    """What it may lead to: a user's own list to any host, a table to public ones, our server's answers back to it."""


def _photos(_: Path) -> Files:
    return dict(malformed.photos())


def _formats(_: Path) -> Files:
    """What Pillow itself does not read: HEIC, JPEG XL and a camera's DNG."""
    from tests import made_formats as made

    small = Image.radial_gradient("L").resize((96, 64)).convert("RGB")
    jpeg = malformed.encoded(small, "JPEG")
    return {
        "plain.heic": made.heic(small),
        "turned.heic": made.heic(small, orientation=6),
        "alpha.heic": made.heic(small.convert("RGBA")),
        "plain.jxl": made.jxl(small),
        "lossless.jxl": made.jxl(small, lossless=True),
        "alpha.jxl": made.jxl(small.convert("RGBA")),
        "packed.jxl": made.jxl_of_jpeg(jpeg),
        "camera.dng": made.dng(small.resize((600, 400))),
        "turned.dng": made.dng(small.resize((600, 400)), orientation=6),
    }


def _png(level: int = 90) -> bytes:
    return malformed.encoded(Image.new("RGB", (60, 40), (level, level, level)), "PNG")


@contextmanager
def _reads_photos(folder: Path) -> Generator[Use, None, None]:
    """A photo by its path, in a process apart."""
    with _readers() as read:

        def use(path: Path) -> None:
            read([str(path)])

        yield use


@contextmanager
def _readers() -> Generator[Callable[[Iterable[str | bytes | Photo]], None], None, None]:
    """Reads sources as ``Scorer.rows`` does; the same processes for all mutations."""
    from mpiqe.isolation.pool import Readers
    from mpiqe.scoring.scorer import Scorer

    scorer = Scorer(predictor=Mean(), crops=1, workers=1, read_timeout=_SECONDS)
    with closing(Readers(cutting=scorer.cutting(), timeout=scorer.read_timeout)) as readers:

        def read(sources: Iterable[str | bytes | Photo]) -> None:
            reasons = []
            for source in sources:
                try:
                    readers.read(source.source() if isinstance(source, Photo) else source)
                except ImageError as error:
                    reasons.append(error.reason)
            if reasons:
                raise Refused("\n".join(reasons))

        yield read


def _archives(_: Path) -> Files:
    files = {}
    for suffix, mode in (("tar", "w"), ("tar.gz", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz")):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
            for number in range(3):
                member = tarfile.TarInfo(f"folder/{number}.png")
                content = _png(50 * number)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        files[f"photos.{suffix}"] = file.getvalue()
    return files


def _zips(_: Path) -> Files:
    files = {}
    for name, method, comment in (("stored", ZIP_STORED, b""), ("packed", ZIP_DEFLATED, b"a comment")):
        file = io.BytesIO()
        with ZipFile(file, "w", method) as archive:
            archive.comment = comment
            for number in range(3):
                archive.writestr(f"folder/{number}.png", _png(50 * number))
        files[f"{name}.zip"] = file.getvalue()
    wide = io.BytesIO()
    with ZipFile(wide, "w", ZIP_DEFLATED) as archive, archive.open("wide.png", "w", force_zip64=True) as member:
        member.write(_png())
    at = wide.getvalue().rindex(b"PK\5\6")
    count, size, start = struct.unpack_from("<HII", wide.getvalue(), at + 10)
    end = struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<IQI", 0, at, 1)
    last = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    files["wide.zip"] = wide.getvalue()[:at] + b"PK\6\6" + end + b"PK\6\7" + locator + last
    return files


def _tables(folder: Path) -> Files:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "a.png").write_bytes(_png())
    files = {}
    columns = {"path": [str(folder / "a.png")] * 3, "image": [_png(level) for level in (10, 20, 30)]}
    for name, cells in columns.items():
        for compression in ("none", "zstd", "snappy"):
            file = io.BytesIO()
            pq.write_table(pa.table({name: cells}), file, compression=compression)
            files[f"{name}-{compression}.parquet"] = file.getvalue()
    return files


def _arrows(folder: Path) -> Files:
    """Arrow files and streams, as pyarrow, Feather and Hugging Face's datasets write them."""
    import pyarrow as pa
    from pyarrow import feather

    (folder / "a.png").write_bytes(_png())
    path, images = str(folder / "a.png"), [_png(level) for level in (10, 20, 30)]
    structs = [{"bytes": images[0], "path": "0.png"}, {"bytes": None, "path": path}, {"bytes": images[1], "path": None}]
    features = json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})
    tables = {
        "path": pa.table({"path": [path] * 3, "kept": [1, 2, 3]}),
        "image": pa.table({"image": images}),
        "dictionary": pa.table({"path": pa.array([path] * 3).dictionary_encode()}),
        "large": pa.table({"image": pa.array(images, pa.large_binary())}),
        "struct": pa.table({"image": structs}).replace_schema_metadata({"huggingface": features}),
    }
    files = {}
    for name, table in tables.items():
        for form, make in (("file", pa.ipc.new_file), ("stream", pa.ipc.new_stream)):
            written = io.BytesIO()
            with make(written, table.schema) as writer:
                writer.write_table(table, max_chunksize=2)
            files[f"{name}-{form}.arrow"] = written.getvalue()
        for compression in ("lz4", "zstd"):
            written = io.BytesIO()
            feather.write_feather(table, written, compression=compression)
            files[f"{name}-{compression}.arrow"] = written.getvalue()
    return files


def _lists(folder: Path) -> Files:
    (folder / "a.png").write_bytes(_png())
    return {"photos.list": f"{folder / 'a.png'}\n{folder / '*.png'}\n\n{folder / '{a,a}.png'}\n".encode()}


@contextmanager
def _opens(folder: Path) -> Generator[Use, None, None]:
    """An archive or a table, as one of many of the same job: the process that reads tables is the same for all."""
    from mpiqe.sources.archive import Archive, Shared
    from mpiqe.sources.photo import Limits

    with _readers() as read, Shared(Limits(max_bytes=1 << 20, timeout=_SECONDS, **_PATIENCE)) as shared:

        def use(path: Path) -> None:
            with closing(Archive(str(path), str(path), False, shared).photos()) as photos:
                read(islice(photos, _MOST_PHOTOS))

        yield use


@contextmanager
def _reads_lists(folder: Path) -> Generator[Use, None, None]:
    from mpiqe.sources.find import Limits, find

    limits = Limits(max_bytes=1 << 20, timeout=2, **_PATIENCE)
    with _readers() as read:

        def use(path: Path) -> None:
            read(islice(find([f"@{path}"], stdin=io.BytesIO(), limits=limits), _MOST_PHOTOS))

        yield use


def _releases(folder: Path) -> Files:
    """Label files of the six sets, each in its folder; those of KADID-10k and KonIQ-10k, the large ones, in part."""
    import numpy as np
    from scipy.io import savemat
    from tests.data import release_folders as made

    root = folder / "made"
    made.live(root, made.made_live())
    made.csiq(root, made.made_csiq())
    made.kadid(root, made.made_kadid()[:500])
    made.bid(root, made.made_bid())
    made.koniq(root, made.made_koniq()[:500])
    livec = root / "ChallengeDB_release"
    (livec / "Data").mkdir(parents=True)
    (livec / "Images").mkdir()
    names = [*(f"t{number}.bmp" for number in range(1, 8)), *(f"{number}.bmp" for number in range(1, 1163))]
    cells = np.empty((len(names), 1), object)
    cells[:, 0] = names
    savemat(livec / "Data" / "AllImages_release.mat", {"AllImages_release": cells})
    savemat(livec / "Data" / "AllMOS_release.mat", {"AllMOS_release": np.linspace(0, 100, len(names))[None]})
    for pictures in (path for path in root.rglob("*") if path.is_dir()):
        (folder / "files" / pictures.relative_to(root)).mkdir(parents=True)
    kept = [path for path in root.rglob("*") if path.is_file()]
    kept.sort(key=lambda path: path.suffix == ".csv")
    return {str(path.relative_to(root)): path.read_bytes() for path in kept}


@contextmanager
def _reads_releases(folder: Path) -> Generator[Use, None, None]:
    from mpiqe.data import read_dataset

    sets = {
        "databaserelease2": "live",
        "CSIQ": "csiq",
        "kadid10k": "kadid",
        "BID": "bid",
        "koniq-10k": "koniq",
        "ChallengeDB_release": "livec",
    }
    work = folder / "files"

    def use(path: Path) -> None:
        release = path.relative_to(work).parts[0]
        read_dataset(sets[release], root=work / release)

    yield use


def _labels(_: Path) -> Files:
    """LIQE's files for a set of ten images."""
    rows = [f"Images/{number}.bmp\t{number}.5\trealistic blur\tindoor\tinvalid\tinvalid" for number in range(10)]
    files = {"clive_all_clip.txt": "\n".join(rows).encode()}
    for split in range(1, 11):
        for side, kept in (("test", (0,)), ("val", (1,)), ("train", (2, 3, 4))):
            lines = [row for index, row in enumerate(rows) if (index + split) % 5 in kept]
            files[f"{split}/clive_{side}_clip.txt"] = "\n".join(lines).encode()
    return {f"IQA_Database/ChallengeDB_release/splits2/{name}": content for name, content in files.items()}


@contextmanager
def _reads_labels(_: Path) -> Generator[Use, None, None]:
    from mpiqe.data.readers import liqe

    def use(path: Path) -> None:
        liqe.read(liqe.folder(path, "ChallengeDB_release", "clive"), "clive")

    yield use


def _settings(_: Path) -> Files:
    rated = "image,mos,scene,distortion,reference\n" + "".join(
        f"{n}.png,{n}.5,animal|landscape,blur,r{n}\n" for n in range(9)
    )
    options = (
        'data = "livec"\nepochs = 3\nlearning_rate = 1e-4\nwindows = 5\nprecision = "fp32"\nalso = ["csv:b.csv"]\n'
    )
    roots = 'labels = "labels"\n[livec]\nroot = "livec"\n'
    study = 'note = "n"\nepochs = 2\n[livec]\nepochs = 3\n'
    return {
        "rated.csv": rated.encode(),
        "options.toml": options.encode(),
        "roots.toml": roots.encode(),
        "study.toml": study.encode(),
    }


@contextmanager
def _reads_settings(folder: Path) -> Generator[Use, None, None]:
    from mpiqe.data import read_dataset
    from mpiqe.experiments.study import read_roots, read_settings
    from mpiqe.training.options import read_toml, resolve

    for number in range(9):
        (folder / "files" / f"{number}.png").write_bytes(_png())

    def use(path: Path) -> None:
        if path.name == "rated.csv":
            read_dataset(f"csv:{path}")
        elif path.name == "roots.toml":
            read_roots(path)
        elif path.name == "study.toml":
            read_settings(path)
        else:
            resolve(read_toml(path))

    yield use


def _backbone(folder: Path) -> Files:
    from mpiqe.labels import DISTORTIONS, SCENES
    from mpiqe.model.compact import CompactOptions, create_compact

    tiny = CompactOptions(
        stem_channels=(),
        patch_size=8,
        vision_width=16,
        vision_layers=1,
        text_width=16,
        text_layers=1,
        joint_width=16,
        image_size=_SIZE,
    )
    words = {word for name in (*SCENES, *DISTORTIONS) for word in name.lower().split()}
    create_compact(folder / "backbone", words=words, options=tiny, seed=1)
    return {path.name: path.read_bytes() for path in (folder / "backbone").iterdir()}


@contextmanager
def _reads_backbones(_: Path) -> Generator[Use, None, None]:
    from mpiqe.model.clip import FrozenCLIP

    def use(path: Path) -> None:
        FrozenCLIP.from_pretrained(path)

    yield use


def _checkpoint(folder: Path) -> Files:
    """With its digest, and without one."""
    _backbone(folder)
    from mpiqe.model.build import build_model
    from mpiqe.model.checkpoint import CheckpointConfig, save_checkpoint
    from mpiqe.model.clip import FrozenCLIP
    from mpiqe.model.options import ModelOptions

    clip = FrozenCLIP.from_pretrained(folder / "backbone")
    options = ModelOptions(windows=2, decoder_layers=1, decoder_heads=2)
    config = CheckpointConfig(
        options=options,
        backbone=str(folder / "backbone"),
        backbone_digest=clip.digest(),
        target_mean=55.5,
        target_std=20.0,
        dataset="some photos",
        mos_low=3.4,
        mos_high=92.4,
        metrics={"val_srcc": None},
    )
    save_checkpoint(folder / "mpiqe.safetensors", build_model(clip, options), config)
    content = (folder / "mpiqe.safetensors").read_bytes()
    length = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:length])
    del header["__metadata__"]["mpiqe_digest"]  # as mpiqe 0.1 wrote them: no digest stops what has been changed
    older = json.dumps(header).encode()
    older += b" " * (-len(older) % 8)
    return {"mpiqe.safetensors": content, "older.safetensors": struct.pack("<Q", len(older)) + older + content[length:]}


@contextmanager
def _loads(_: Path) -> Generator[Callable[..., None], None, None]:
    """A model, and the score of a photo by it."""
    import mpiqe
    from mpiqe.batch.sinks import plain_values
    from mpiqe.scoring.score import Row

    photo = malformed.encoded(Image.linear_gradient("L"), "PNG")

    def use(path: Path, runtime: str = "auto") -> None:
        scorer = mpiqe.load(path, crops=1, runtime=runtime)
        plain_values(Row("photo", scorer(photo), None))

    yield use


_AS_OPENVINO = "read-by-openvino"


def _exported(folder: Path) -> Files:
    """A small graph of each form, with digests and without, and the embedded one, whose weights lie beside it, without.

    A card need not have any, and they stop whatever has been changed in a graph before a runtime reads it.
    """
    from mpiqe.runtimes.export import export
    from mpiqe.scoring.loading import embedded_folder

    _checkpoint(folder)
    home, photos = embedded_folder(), [Image.linear_gradient("L").convert("RGB")]
    for form in ("onnx", "openvino"):  # of the process before, where a mutation ended that
        shutil.rmtree(folder / form, ignore_errors=True)
    export(folder / "mpiqe.safetensors", folder / "onnx", photos=photos)
    export(folder / "mpiqe.safetensors", folder / "openvino", form="openvino", photos=photos)
    files = _exported_files(folder / "onnx", "onnx", ("mpiqe.onnx",))
    files |= _exported_files(folder / "openvino", "openvino", ("mpiqe.xml", "mpiqe.bin"))
    files |= {f"{_AS_OPENVINO}/{name}": files[f"onnx/{name}"] for name in ("mpiqe.json", "mpiqe.onnx")}
    files["embedded/mpiqe.json"] = _without_digests((home / "mpiqe.json").read_bytes())
    weights = ("mpiqe.onnx", "mpiqe.safetensors", "backbone/model.safetensors")
    return files | {f"embedded/{name}": (home / name).read_bytes() for name in weights}


def _exported_files(folder: Path, name: str, graph: tuple[str, ...]) -> Files:
    card = (folder / "mpiqe.json").read_bytes()
    files = {f"{name}/mpiqe.json": _without_digests(card), f"{name}-checked/mpiqe.json": card}
    content = {each: (folder / each).read_bytes() for each in graph}
    return files | {f"{kept}/{each}": content[each] for kept in (name, f"{name}-checked") for each in graph}


def _without_digests(card: bytes) -> bytes:
    return json.dumps({**json.loads(card), "digests": {}}).encode()


@contextmanager
def _loads_graphs(folder: Path) -> Generator[Use, None, None]:
    with _loads(folder) as load:

        def use(path: Path) -> None:
            name = path.relative_to(folder / "files").parts[0]
            load(folder / "files" / name, runtime="openvino" if name == _AS_OPENVINO else "auto")

        yield use


def _answers(_: Path) -> Files:
    body = _png()
    first = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    return {
        "length.http": first + body,
        "plain.http": b"HTTP/1.0 200 OK\r\n\r\n" + body,
        "chunks.http": chunk,
        "missing.http": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "busy.http": b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
        "moved.http": b"HTTP/1.1 302 Found\r\nLocation: /other.png\r\nContent-Length: 0\r\n\r\n",
    }


@contextmanager
def _downloads(folder: Path) -> Generator[Use, None, None]:
    """From a server of ours that answers each request with the file's bytes."""
    from mpiqe.sources.find import Limits, find

    limits = Limits(max_bytes=1 << 20, timeout=5, connect_timeout=5, read_timeout=5, attempts=2, pause=0.01)
    said = [b""]
    with closing(socket.create_server(("127.0.0.1", 0))) as listener, _readers() as read:
        port = listener.getsockname()[1]

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(2)
                        connection.recv(1 << 16)
                        connection.sendall(said[0])
                        connection.shutdown(socket.SHUT_WR)
                except OSError:
                    if listener.fileno() < 0:
                        return

        threading.Thread(target=serve, daemon=True).start()

        def use(path: Path) -> None:
            said[0] = path.read_bytes()
            found = find([f"http://127.0.0.1:{port}/x.png"], stdin=io.BytesIO(), limits=limits)
            read(found)

        yield use


KINDS = {
    kind.name: kind
    for kind in (
        Kind("photos", _photos, _reads_photos, apart=True),
        Kind("formats", _formats, _reads_photos, apart=True),
        Kind("archives", _archives, _opens, apart=True),
        Kind("zips", _zips, _opens, apart=True),
        Kind("tables", _tables, _opens, apart=True, may_name_files=True, hosts="public"),
        Kind("arrow", _arrows, _opens, apart=True, may_name_files=True, hosts="public"),
        Kind("lists", _lists, _reads_lists, apart=True, may_name_files=True, hosts="any"),
        Kind("http", _answers, _downloads, apart=True, hosts="loopback"),
        Kind("releases", _releases, _reads_releases, apart=True),
        Kind("labels", _labels, _reads_labels, one_file=False),
        Kind("settings", _settings, _reads_settings, may_name_files=True),
        Kind("checkpoints", _checkpoint, _loads),
        Kind("exported", _exported, _loads_graphs, slow=("embedded/",)),
        Kind("backbones", _backbone, _reads_backbones, one_file=False, megabytes=1000),
    )
}
